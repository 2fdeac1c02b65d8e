"""Values in boxes of neighbouring rows of one channel, each with a range of its own; codes keep the order of memory.

NOTE: Why
In trained networks channels differ, and what lies together in a channel is alike: pixels of a feature map, tokens of a
text. A group in the order of memory reaches over channels, or over a line of pixels. A box of a hundred rows of one
channel has half its squared range and less. So each value is held as its place between the least and the greatest of
its box. Groups of those are all alike, so they may be long, and their metadata pays for the bounds of the boxes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..ops.boxcodes import Bounds, Tables, bounds_of, decode_into, encode, spread, tables_of
from ..ops.boxes import Grid, narrow, restore
from .lines import Lines
from .transforms import Forward, Inverse

GROUP = 1024
"""Elements of a group of places in boxes."""


class Boxes:
    """Values as places in boxes.

    The bounds of boxes are 8 bits each, between the least and the greatest of their channel. What lies a little outside
    of rounded bounds is no harm: groups have a minimum and a scale of their own.

    Args:
        low: Least element of each box, float32 ``[boxes, channels]``.
        high: Greatest element, likewise.
        grid: Which of them are a box.

    Attributes:
        grid: Which elements are a box.
        bounds: Lower and upper bound of each box, uint8 ``[2, boxes, channels]``.
        ranges: Least of each channel and its range over the levels, float32 ``[2, channels]``.
    """

    __slots__ = ("bounds", "grid", "ranges")

    name = "boxes"
    rounding = "dithered"
    parts: tuple[str, ...] = ("bounds", "ranges")
    line: tuple[int, int] | None = None

    def __init__(self, low: Tensor, high: Tensor, grid: Grid) -> None:
        self.grid = grid
        self.bounds, self.ranges = bounds_of(low, high)

    @property
    def nbytes(self) -> int:
        """Bytes of bounds and ranges."""
        return int(self.bounds.nbytes + self.ranges.nbytes)

    def lines(self) -> Lines:
        """None: neighbours in memory have a factor each, and other ones in the next box."""
        return []

    def values(self, dtype: torch.dtype) -> torch.dtype:
        """float32."""
        return torch.float32

    def tables(self) -> Tables:
        """Least and range of every box."""
        return tables_of(Bounds(self.bounds, self.ranges))

    def widths(self) -> Tensor:
        """The range of every box, float32 ``[boxes, channels]``."""
        return self.tables().width

    def forward(self, flat: Tensor) -> Forward:
        """Takes the least of the box away and divides by its range."""
        tables = self.tables()

        def write(start: int, out: Tensor) -> None:
            narrow(flat, self.grid, start, tables.least, tables.inverse, out)

        return write

    def inverse(self) -> Inverse:
        """Multiplies by the range of the box and adds its least."""
        tables = self.tables()

        def undo(start: int, values: Tensor) -> None:
            restore(values, self.grid, start, tables.width, tables.least)

        return undo

    def encoded(self, flat: Tensor, bits: int, group_size: int, seed: int) -> tuple[Tensor, Tensor] | None:
        """Codes and metadata of all elements, made in one pass; None where it takes two."""
        return encode(flat, self.grid, self.tables(), bits, group_size, seed)

    def decoder(self) -> Callable[..., bool]:
        """Writes elements from a number on in one pass, or nothing where it takes two, and tells which.

        It gets that number, where to write, then codes, metadata, width, group size and seed from there on.
        """
        tables = self.tables()

        def write(start: int, out: Tensor, codes: Tensor, metadata: Tensor, bits: int, size: int, seed: int) -> bool:
            return decode_into(out, codes, metadata, bits, size, seed, self.grid, start, tables)

        return write

    def widths_of(self, start: int, runs: int, length: int, distance: int) -> Tensor:
        """The range of the box of each element of some runs, ``[runs, length]``.

        Args:
            start: Number of the first element.
            runs: How many runs.
            length: Elements of a run.
            distance: From the beginning of a run to that of the next.
        """
        return spread(self.widths(), self.grid, start, runs, length, distance)

"""Values in boxes of neighbouring rows of one channel, each with a range of its own; codes keep the order of memory.

NOTE: Why
In trained networks channels differ, and what lies together in a channel is alike: pixels of a feature map, tokens of a
text. A group in the order of memory reaches over channels, or over a line of pixels. A box of a hundred rows of one
channel has half its squared range and less. So each value is held as its place between the least and the greatest of
its box. Groups of those are all alike, so they may be long, and their metadata pays for the bounds of the boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.boxes import Grid, narrow, restore
from .lines import Lines
from .transforms import Forward, Inverse

GROUP = 1024
"""Elements of a group of places in boxes."""
_LEVELS = 255


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
        least = low.amin(0)
        step = (high.amax(0) - least).div_(_LEVELS)
        self.ranges: Tensor = torch.stack((least, step))
        inverse = _inverse(step)
        bounds = torch.stack(((low - least).mul_(inverse).floor_(), (high - least).mul_(inverse).ceil_()))
        # What is not finite stays so in the ranges, and poisons its groups.
        self.bounds: Tensor = bounds.nan_to_num_(0.0).clamp_(0, _LEVELS).to(torch.uint8)

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

    def widths(self) -> Tensor:
        """The range of every box, float32 ``[boxes, channels]``."""
        below, above = self.bounds
        widths: Tensor = (above - below).clamp_(min=1).float().mul_(self.ranges[1])
        return widths

    def forward(self, flat: Tensor) -> Forward:
        """Takes the least of the box away and divides by its range."""
        least, inverse = self._least(), _inverse(self.widths())

        def write(start: int, out: Tensor) -> None:
            narrow(flat, self.grid, start, least, inverse, out)

        return write

    def inverse(self) -> Inverse:
        """Multiplies by the range of the box and adds its least."""
        least, width = self._least(), self.widths()

        def undo(start: int, values: Tensor) -> None:
            restore(values, self.grid, start, width, least)

        return undo

    def _least(self) -> Tensor:
        """The least of every box."""
        least, step = self.ranges
        return self.bounds[0].float().mul_(step).add_(least)


def _inverse(figures: Tensor) -> Tensor:
    """Reciprocals, of 0 and of what is far smaller than any difference of float32 counts in 0."""
    return torch.where(figures > 1e-37, figures.reciprocal(), torch.zeros_like(figures))

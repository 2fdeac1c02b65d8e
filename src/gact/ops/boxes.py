"""Boxes of neighbouring rows in one channel: in C++ on a CPU, and in plain torch elsewhere or without the extension.

Elements lie as rows of channels, the rows as a plane, and the plane is cut into boxes; the last ones may be smaller.
Each box has figures for every channel: a table ``[boxes, channels]``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from . import cpu
from .looks import CODES


class Grid(NamedTuple):
    """Which rows are a box.

    Attributes:
        high: Rows of the plane above each other.
        wide: Rows beside each other, as they lie in memory.
        channels: Elements of a row.
        tall: Rows of a box above each other.
        broad: Rows of a box beside each other.
    """

    high: int
    wide: int
    channels: int
    tall: int
    broad: int

    @property
    def boxes(self) -> int:
        """How many boxes there are."""
        return -(-self.high // self.tall) * self.across

    @property
    def across(self) -> int:
        """How many lie beside each other."""
        return -(-self.wide // self.broad)

    def places(self, units: Tensor) -> Tensor:
        """The elements of some boxes, each in a channel, ``[units, elements of a box]``.

        Of a smaller box its last ones are meant more than once.

        Args:
            units: Numbers of figures in a table ``[boxes, channels]``.
        """
        box, channel = units.long() // self.channels, units.long() % self.channels
        tall, broad = (torch.arange(extent, device=units.device) for extent in (self.tall, self.broad))
        top = ((box // self.across * self.tall)[:, None] + tall).clamp_(max=self.high - 1)
        left = ((box % self.across * self.broad)[:, None] + broad).clamp_(max=self.wide - 1)
        rows = (top[:, :, None] * self.wide + left[:, None]).flatten(1)
        return rows * self.channels + channel[:, None]

    def box_of(self, start: int, stop: int, device: torch.device) -> Tensor:
        """The number of the box of each of these rows."""
        row = torch.arange(start, stop, device=device)
        return row // (self.wide * self.tall) * self.across + row % self.wide // self.broad


def extremes(flat: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Least and greatest element of every box in every channel, float32 ``[boxes, channels]``.

    Args:
        flat: One-dimensional and contiguous, of float32, float16 or bfloat16.
        grid: The boxes.
    """
    library = cpu.library()
    if library is None or not flat.is_cpu:
        return extremes_plainly(flat, grid)
    low, high = (flat.new_empty(grid.boxes, grid.channels, dtype=torch.float32) for _ in range(2))
    library.gact_box_extremes(flat.data_ptr(), CODES[flat.dtype], *grid, low.data_ptr(), high.data_ptr())
    return low, high


def extremes_plainly(flat: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The same in plain torch.

    Args:
        flat: See ``extremes``.
        grid: Likewise.
    """
    plane = flat.view(grid.high, grid.wide, grid.channels)
    low, high = (
        flat.new_empty(-(-grid.high // grid.tall), -(-grid.wide // grid.broad), grid.channels) for _ in range(2)
    )
    for top, tall, rows in _cut(grid.high, grid.tall):
        for left, broad, columns in _cut(grid.wide, grid.broad):
            part = plane[top, left].unflatten(1, (-1, broad)).unflatten(0, (-1, tall))
            low[rows, columns] = part.amin((1, 3))
            high[rows, columns] = part.amax((1, 3))
    return low.float().view(-1, grid.channels), high.float().view(-1, grid.channels)


def _cut(extent: int, box: int) -> Iterator[tuple[slice, int, slice]]:
    """Whole boxes, then what is left: the elements, the extent of a box of them, and which boxes they are."""
    whole, left = divmod(extent, box)
    if whole:
        yield slice(0, whole * box), box, slice(0, whole)
    if left:
        yield slice(whole * box, extent), left, slice(whole, whole + 1)


class Look(NamedTuple):
    """What a region shows of its boxes.

    Attributes:
        low: Least element of every box in every channel, float32 ``[boxes, channels]``.
        high: The greatest, likewise.
        energy: The least squared norm of a row in every box, float32 ``[boxes]``; NaN if one is.
        mean: The mean of those of all rows.
    """

    low: Tensor
    high: Tensor
    energy: Tensor
    mean: float


def look_at(flat: Tensor, grid: Grid) -> Look:
    """Looks at all elements of a region once.

    Args:
        flat: See ``extremes``.
        grid: The boxes.
    """
    library = cpu.library()
    if library is None or not flat.is_cpu:
        return look_at_plainly(flat, grid)
    low, high = (flat.new_empty(grid.boxes, grid.channels, dtype=torch.float32) for _ in range(2))
    energy = low.new_empty(grid.boxes)
    places = (low.data_ptr(), high.data_ptr(), energy.data_ptr())
    return Look(low, high, energy, library.gact_box_look(flat.data_ptr(), CODES[flat.dtype], *grid, *places))


def look_at_plainly(flat: Tensor, grid: Grid) -> Look:
    """The same in plain torch.

    Args:
        flat: See ``extremes``.
        grid: Likewise.
    """
    energy = torch.linalg.vector_norm(flat.view(-1, grid.channels), dim=1, dtype=torch.float32).square_()
    least = extremes_plainly(energy, grid._replace(channels=1))[0].view(-1)
    return Look(*extremes_plainly(flat, grid), least, float(energy.mean()))


def unevenness(widths: Tensor, step: Tensor) -> float:
    """Mean square of the ranges of boxes against the middle one of their channel, and of what a step adds to that.

    Args:
        widths: The range of every box in every channel, float32 and contiguous, ``[boxes, channels]``.
        step: What bounds of boxes are multiples of, by channel, float32 and contiguous; NaN is returned where one is
            not finite.
    """
    library = cpu.library()
    if library is None or not widths.is_cpu:
        return unevenness_plainly(widths, step)
    return float(library.gact_box_unevenness(widths.data_ptr(), step.data_ptr(), *widths.shape))


def unevenness_plainly(widths: Tensor, step: Tensor) -> float:
    """The same in plain torch.

    Args:
        widths: See ``unevenness``.
        step: Likewise.
    """
    if not bool(step.isfinite().all()):
        return math.nan
    middle = torch.maximum(widths.median(0).values, step)
    middle = torch.where(middle > 0, middle, torch.ones_like(middle))
    coarse = (2 * step / middle).add_(1).square_()
    return float((widths.div(middle).square_().mean(0) * coarse).mean())


def narrow(flat: Tensor, grid: Grid, start: int, least: Tensor, inverse: Tensor, out: Tensor) -> None:
    """Writes ``(x - least) * inverse`` of elements from a number on, two roundings each.

    Args:
        flat: See ``extremes``; all elements.
        grid: The boxes.
        start: Number of the first element.
        least: A figure for every box and channel, float32 and contiguous.
        inverse: Likewise.
        out: One-dimensional, float32 and contiguous.
    """
    library = cpu.library()
    if library is not None and flat.is_cpu:
        places = (start, out.numel(), least.data_ptr(), inverse.data_ptr(), out.data_ptr())
        library.gact_box_narrow(flat.data_ptr(), CODES[flat.dtype], *grid, *places)
        return
    for at, part, boxes, channels in _rows(grid, start, out):
        values = flat[start + at : start + at + part.numel()].view(part.shape)
        torch.sub(values, least[boxes, channels], out=part).mul_(inverse[boxes, channels])


def restore(values: Tensor, grid: Grid, start: int, width: Tensor, least: Tensor) -> None:
    """Replaces x by ``x * width + least``, two roundings each.

    Args:
        values: Elements from a number on, one-dimensional, float32 and contiguous.
        grid: The boxes.
        start: Number of the first element.
        width: A figure for every box and channel, float32 and contiguous.
        least: Likewise.
    """
    library = cpu.library()
    if library is not None and values.is_cpu:
        library.gact_box_restore(values.data_ptr(), *grid, start, values.numel(), width.data_ptr(), least.data_ptr())
        return
    for _, part, boxes, channels in _rows(grid, start, values):
        part.mul_(width[boxes, channels]).add_(least[boxes, channels])


def _rows(grid: Grid, start: int, flat: Tensor) -> Iterator[tuple[int, Tensor, Tensor, slice]]:
    """Elements from a number on in rows: where they begin, rows of them, the box of each row, the channels."""
    at, length = 0, grid.channels
    while at < flat.numel():
        channel = (start + at) % length
        left = flat.numel() - at
        whole = left // length if channel == 0 else 0
        count = whole * length if whole else min(left, length - channel)
        row, end = (start + at) // length, channel + count if not whole else length
        boxes = grid.box_of(row, row + max(whole, 1), flat.device)
        yield at, flat[at : at + count].view(max(whole, 1), -1), boxes, slice(channel, end)
        at += count

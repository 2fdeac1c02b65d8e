"""Looks at some bands of boxes of a region: their squared ranges beside those of groups, as a transform makes them.

In C++ in one call, since a dozen calls of torch would cost more than the code itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import cpu
from .boxes import Grid, extremes
from .looks import CODES, place_of

_SUMS = ctypes.c_double * 7
_bend_into = torch.ops.gact.bend_into.default


class Lines(NamedTuple):
    """A transform of elements to ``(x - shift) * factor``.

    Attributes:
        factor: Figures of channels in blocks, float32 and contiguous, ``[blocks, channels]``; positive.
        shift: Likewise.
        inner: Neighbours in one channel.
        span: Elements of a block.
    """

    factor: Tensor
    shift: Tensor
    inner: int
    span: int

    def moved(self, start: int, exact: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """What it makes of the elements from a number on, and how steep it is about each, given their boxes' ranges."""
        number = torch.arange(start, start + exact.numel(), device=exact.device)
        channels = self.factor.shape[1]
        at = number // self.span * channels + number % self.span // self.inner % channels
        factor = self.factor.flatten()[at]
        return (exact - self.shift.flatten()[at]) * factor, factor


class Hyperbola(NamedTuple):
    """A transform of elements along a hyperbola, as ``gact::bend_into`` has it, but to nothing below the lowest.

    Attributes:
        turn: What is taken away first.
        square: Squared width of the bend.
        weight: How much of the way from the line to the root.
        lowest: What smaller ones become.
        reach: How much of its box lies between an element and those that its slope is taken from.
    """

    turn: float
    square: float
    weight: float
    lowest: float
    reach: float

    def moved(self, start: int, exact: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Lines``."""
        reach = widths * self.reach
        under, low, high = exact.clone(), exact - reach, exact + reach
        for each in (under, low, high):
            _bend_into(each, each, self.turn, self.square, self.weight, 0.0)
            each.clamp_min_(self.lowest)
        return under, high.sub_(low).div_(reach.mul_(2).clamp_(min=1e-30))


class _Under(ctypes.Structure):
    """A transform as csrc/boxes_bands.cpp has it."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("factor", "shift")),
        *((name, ctypes.c_int64) for name in ("channels", "inner", "span")),
        *((name, ctypes.c_double) for name in Hyperbola._fields),
    )


class Sample(NamedTuple):
    """Means over groups.

    Attributes:
        boxes: Mean squared range of the boxes that a group's elements are in, in units of the transform.
        groups: Squared range of the group.
        plain_boxes: The first in units of elements.
        plain_groups: The second likewise.
        both: The product of the first two.
        squares: The square of the second.
    """

    boxes: float
    groups: float
    plain_boxes: float
    plain_groups: float
    both: float
    squares: float


def sampled(
    flat: Tensor, grid: Grid, starts: Sequence[int], group_size: int, under: Lines | Hyperbola | None = None
) -> Sample:
    """What some bands show.

    Args:
        flat: All elements, one-dimensional and contiguous, of float32, float16 or bfloat16.
        grid: The boxes.
        starts: Numbers of the first elements of the bands: boxes that lie beside each other, with all channels.
        group_size: Elements of a group; no more than a band has.
        under: What groups are made of; None for elements as they are.
    """
    library, place, band = cpu.library(), place_of(flat), grid._replace(high=grid.tall)
    if library is None or place is None or not flat.is_cpu:
        return sampled_plainly(flat, grid, starts, group_size, under)
    sums, how = _SUMS(), None
    numbers = (ctypes.c_int64 * len(starts))(*starts)
    if isinstance(under, Lines):
        tables = (under.factor.data_ptr(), under.shift.data_ptr())
        how = ctypes.byref(_Under(*tables, under.factor.shape[1], under.inner, under.span))
    elif under is not None:
        how = ctypes.byref(_Under(None, None, 0, 0, 0, *under))
    library.gact_box_bands(place, CODES[flat.dtype], *band, numbers, len(starts), group_size, how, sums)
    return Sample(*(each / max(sums[6], 1.0) for each in sums[:6]))


def sampled_plainly(
    flat: Tensor, grid: Grid, starts: Sequence[int], group_size: int, under: Lines | Hyperbola | None = None
) -> Sample:
    """The same in plain torch.

    Args:
        flat: See ``sampled``.
        grid: Likewise.
        starts: Likewise.
        group_size: Likewise.
        under: Likewise.
    """
    band, found = grid._replace(high=grid.tall), []
    for start in starts:  # one after the other: it takes several tensors
        exact = flat[start : start + band.high * band.wide * band.channels].float()
        low, high = extremes(exact, band)
        widths = high.sub_(low)[band.box_of(0, band.high * band.wide, exact.device)].view(-1)
        moved, slopes = (exact, None) if under is None else under.moved(start, exact, widths)
        found.append(_of_groups(widths, moved, slopes, group_size))
    boxes, groups, *plain = torch.cat(found, 1).double()
    means = (boxes, groups, *plain, boxes * groups, groups.square())
    return Sample(*(float(each.mean()) for each in means))


def _of_groups(widths: Tensor, moved: Tensor, slopes: Tensor | None, group_size: int) -> Tensor:
    """The first four figures of each whole group, ``[4, groups]``."""
    whole = moved.numel() // group_size * group_size

    def grouped(each: Tensor) -> Tensor:
        return each[:whole].view(-1, group_size)

    groups, squares = grouped(moved), widths.square()
    ranges = (groups.amax(1) - groups.amin(1)).square_()
    boxes = grouped(squares).mean(1)
    if slopes is None:
        return torch.stack((boxes, ranges, boxes, ranges))
    steep = slopes.square()
    own = ranges * grouped(steep.reciprocal()).mean(1)
    return torch.stack((grouped(squares * steep).mean(1), ranges, boxes, own))

"""Looks at some bands of boxes of a region: their squared ranges beside those of groups of the elements as they are."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import cpu
from .boxes import Grid, extremes, noise
from .looks import CODES, place_of

_SUMS = ctypes.c_double * 5


class Sample(NamedTuple):
    """Means over groups.

    Attributes:
        boxes: Mean squared range of the boxes that a group's elements are in.
        groups: Squared range of the group.
        both: The product of the two.
        squares: The square of the second.
    """

    boxes: float
    groups: float
    both: float
    squares: float


def sampled(flat: Tensor, grid: Grid, starts: Sequence[int], group_size: int) -> Sample:
    """What some bands show.

    Args:
        flat: All elements, one-dimensional and contiguous, of float32, float16 or bfloat16.
        grid: The boxes.
        starts: Numbers of the first elements of the bands: boxes that lie beside each other, with all channels.
        group_size: Elements of a group; no more than a band has.
    """
    library, place, band = cpu.library(), place_of(flat), grid._replace(high=grid.tall)
    if library is None or place is None or not flat.is_cpu:
        return sampled_plainly(flat, grid, starts, group_size)
    sums = _SUMS()
    numbers = (ctypes.c_int64 * len(starts))(*starts)
    library.gact_box_sample(place, CODES[flat.dtype], *band, numbers, len(starts), group_size, sums)
    return Sample(*(each / max(sums[4], 1.0) for each in sums[:4]))


def sampled_plainly(flat: Tensor, grid: Grid, starts: Sequence[int], group_size: int) -> Sample:
    """The same in plain torch.

    Args:
        flat: See ``sampled``.
        grid: Likewise.
        starts: Likewise.
        group_size: Likewise.
    """
    band, found = grid._replace(high=grid.tall), []
    for start in starts:
        exact = flat[start : start + band.high * band.wide * band.channels].float()
        low, high = extremes(exact, band)
        found.append(noise(high.sub_(low), exact, None, band, group_size)[:2])
    boxes, groups = torch.cat(found, 1).double()
    return Sample(*(float(each.mean()) for each in (boxes, groups, boxes * groups, groups.square())))

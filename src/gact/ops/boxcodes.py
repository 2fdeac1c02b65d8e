"""Codes of places in boxes: bounds of boxes in 8 bits, and group codes that are made and read in one pass over memory.

In C++ on a CPU. Bounds have a twin in plain torch; without the extension, and on devices, codes take two passes:
``boxes.narrow`` and ``quantize``, ``dequantize_into`` and ``boxes.restore``, part by part. The numbers are the same to
the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import checks, cpu
from .boxes import Grid
from .looks import CODES, place_of

_LEVELS = 255


class Bounds(NamedTuple):
    """Lower and upper bounds of boxes.

    Attributes:
        levels: Of each box and channel, between the least and the greatest of the channel, uint8
            ``[2, boxes, channels]``.
        ranges: Least of each channel and its range over the levels, float32 ``[2, channels]``.
    """

    levels: Tensor
    ranges: Tensor


class Tables(NamedTuple):
    """What bounds stand for, float32 ``[boxes, channels]`` each.

    Attributes:
        least: Least of each box in each channel.
        width: Its range.
        inverse: The reciprocal of that, of 0 and of what is far smaller than any difference of float32 counts in 0.
    """

    least: Tensor
    width: Tensor
    inverse: Tensor


def bounds_of(low: Tensor, high: Tensor) -> Bounds:
    """Bounds that leave no element out, but for the rounding of float32.

    Args:
        low: Least element of each box, float32 and contiguous, ``[boxes, channels]``.
        high: Greatest element, likewise.
    """
    library = cpu.library()
    if library is None or not low.is_cpu:
        return bounds_plainly(low, high)
    levels = low.new_empty(2, *low.shape, dtype=torch.uint8)
    ranges = low.new_empty(2, low.shape[1])
    library.gact_box_bounds(low.data_ptr(), high.data_ptr(), *low.shape, levels.data_ptr(), ranges.data_ptr())
    return Bounds(levels, ranges)


def bounds_plainly(low: Tensor, high: Tensor) -> Bounds:
    """The same in plain torch.

    Args:
        low: See ``bounds_of``.
        high: Likewise.
    """
    least = low.amin(0)
    step = (high.amax(0) - least).div_(_LEVELS)
    inverse = _inverse(step)
    levels = torch.stack(((low - least).mul_(inverse).floor_(), (high - least).mul_(inverse).ceil_()))
    # What is not finite stays so in the ranges, and poisons its groups.
    return Bounds(levels.nan_to_num_(0.0).clamp_(0, _LEVELS).to(torch.uint8), torch.stack((least, step)))


def tables_of(bounds: Bounds) -> Tables:
    """What bounds stand for.

    Args:
        bounds: The bounds.
    """
    levels, ranges = bounds
    library = cpu.library()
    if library is None or not levels.is_cpu:
        return tables_plainly(bounds)
    tables = Tables(*ranges.new_empty(3, *levels.shape[1:]))
    places = (each.data_ptr() for each in tables)
    library.gact_box_tables(levels.data_ptr(), ranges.data_ptr(), *levels.shape[1:], *places)
    return tables


def tables_plainly(bounds: Bounds) -> Tables:
    """The same in plain torch.

    Args:
        bounds: See ``tables_of``.
    """
    (below, above), (least, step) = bounds
    width = (above - below).clamp_(min=1).float().mul_(step)
    return Tables(below.float().mul_(step).add_(least), width, _inverse(width))


def _inverse(figures: Tensor) -> Tensor:
    return torch.where(figures > 1e-37, figures.reciprocal(), torch.zeros_like(figures))


def spread(table: Tensor, grid: Grid, start: int, runs: int, length: int, distance: int) -> Tensor:
    """The figure of each element of some runs, float32 ``[runs, length]``.

    Args:
        table: A figure for every box and channel, float32 and contiguous.
        grid: The boxes.
        start: Number of the first element.
        runs: How many runs.
        length: Elements of a run.
        distance: From the beginning of a run to that of the next.
    """
    library = cpu.library()
    if library is not None and table.is_cpu:
        out = table.new_empty(runs, length)
        library.gact_box_spread(table.data_ptr(), *grid, start, runs, length, distance, out.data_ptr())
        return out
    at = (torch.arange(runs, device=table.device) * distance)[:, None] + torch.arange(length, device=table.device)
    row = (at + start) // grid.channels
    boxes = row // (grid.wide * grid.tall) * grid.across + row % grid.wide // grid.broad
    return table[boxes, (at + start) % grid.channels]


def encode(
    flat: Tensor, grid: Grid, tables: Tables, bits: int, group_size: int, seed: int
) -> tuple[Tensor, Tensor] | None:
    """What ``quantize`` gives, dithered, of ``(x - least) * inverse``; None where it takes two passes.

    Args:
        flat: All elements, one-dimensional and contiguous, of float32, float16 or bfloat16.
        grid: The boxes.
        tables: Of their bounds.
        bits: Width of a code, 1 to 8.
        group_size: Elements of a group.
        seed: Key of the random stream.
    """
    library, place = cpu.library(), place_of(flat)
    if library is None or place is None or not flat.is_cpu:
        return None
    codes = flat.new_empty(checks.code_bytes(flat.numel(), bits), dtype=torch.uint8)
    metadata = flat.new_empty(checks.group_count(flat.numel(), group_size), 2, dtype=torch.bfloat16)
    how = (tables.least.data_ptr(), tables.inverse.data_ptr(), bits, group_size, seed)
    library.gact_box_encode(place, CODES[flat.dtype], *grid, *how, codes.data_ptr(), metadata.data_ptr())
    return codes, metadata


def decode_into(
    out: Tensor, codes: Tensor, metadata: Tensor, bits: int, group_size: int, seed: int, grid: Grid, start: int,
    tables: Tables,
) -> bool:  # fmt: skip
    """Writes ``x * width + least`` of what ``dequantize_into`` gives; False, and nothing, where it takes two passes.

    Args:
        out: Elements from a number on, one-dimensional and contiguous, of float32, float16 (where what is too large
            becomes the largest number) or bfloat16.
        codes: Their codes.
        metadata: Of their groups.
        bits: Width of a code.
        group_size: Elements of a group.
        seed: Key of the random stream from their first group on.
        grid: The boxes.
        start: Number of the first element, which begins a group.
        tables: Of their bounds.
    """
    library, place = cpu.library(), place_of(out)
    if library is None or place is None or not out.is_cpu:
        return False
    what = (codes.data_ptr(), metadata.data_ptr(), bits, group_size, seed)
    where = (start, out.numel(), tables.width.data_ptr(), tables.least.data_ptr())
    library.gact_box_decode(*what, *grid, *where, CODES[out.dtype], place)
    return True

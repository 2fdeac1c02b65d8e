"""Looks at the channels of a region on a CPU, its innermost elements: how they differ, from some of the rows.

In C++ in one call, since forty calls of torch would cost more than the code itself; by torch where the extension is
missing.
"""

from __future__ import annotations

import ctypes
import math
from typing import NamedTuple

import torch
from torch import Tensor

from . import cpu
from .looks import CODES, place_of

_GLANCE, ROWS = 8, 64
"""So many rows are looked at first, and twice so many if that is promising: half of them try what the others tell."""
_WIDTH = 6.0
"""Range of a group, in deviations, of numbers that are alike: promising is what is wider."""
_FLOOR = 2.0**-6
"""A channel counts as no smaller than this against the others of its group: what was not seen of it may be larger."""
_REACH = 16.0
"""No value lies farther from its channel's mean than so many deviations, or these are taken as larger: what is 0 but
for a few rows, as after a sparse ReLU, would set the step of all other channels wherever it is not."""
_SPARSE = 0.5
"""Share of zeros in channels that are not 0 throughout: plain codes hold them exactly where they are many."""

_BOUNDS = (ctypes.c_double * 4)(_WIDTH**2, _SPARSE, _FLOOR, _REACH)
_SIZES, _GAINS = ctypes.c_int64 * 6, ctypes.c_double * 2


class Channels(NamedTuple):
    """How channels differ.

    Attributes:
        deviation: Of each channel, or somewhat more. Shape [length], float32.
        mean: Likewise.
        less: How many times less noise they have on average, each against its own size, if each is coded in its own
            deviations.
        left: Which share of the noise of all is left then.
    """

    deviation: Tensor
    mean: Tensor
    less: float
    left: float


def look_at(flat: Tensor, length: int, group_size: int) -> Channels | None:
    """How the channels of a region differ; None where coding them apart would gain nothing, or nothing can be said.

    Args:
        flat: The elements of the region, one-dimensional and contiguous, float32, float16 or bfloat16.
        length: Channels: element i is one of channel ``i % length``.
        group_size: Elements of a group.
    """
    library, place = cpu.library(), place_of(flat)
    if library is None or place is None:
        return look_at_plainly(flat, length, group_size)
    deviation, mean, gains = torch.empty(length), torch.empty(length), _GAINS()
    sizes = _SIZES(flat.numel(), length, -(-group_size // length), group_size, _GLANCE, ROWS)
    figures = (deviation.data_ptr(), mean.data_ptr(), gains)
    if not library.gact_look_at_columns(place, CODES[flat.dtype], sizes, _BOUNDS, *figures):
        return None
    return Channels(deviation, mean, gains[0], gains[1])


def look_at_plainly(flat: Tensor, length: int, group_size: int) -> Channels | None:
    """The same in plain torch.

    Args:
        flat: See ``look_at``.
        length: Likewise.
        group_size: Likewise.
    """
    # As many rows as a group reaches over are looked at as one.
    times = -(-group_size // length)
    frames = flat.numel() // (length * times)
    table = flat[: frames * length * times].view(frames, length * times)
    if not _is_promising(_some(table, _GLANCE), length, group_size):
        return None
    sample, others = _halves(_some(table, 2 * ROWS))
    variance, mean = _of_channels(sample.view(-1, length))
    if _are_sparse(sample.view(-1, length), variance):
        return None
    typical = _grouped(variance.repeat(times)[None], group_size).mean(2)[0].sqrt()
    deviation = torch.maximum(variance.sqrt(), (typical * _FLOOR).repeat_interleave(group_size)[:length])
    rows = flat[: flat.numel() // length * length].view(-1, length)
    farthest = torch.maximum(rows.amax(0).float() - mean, mean - rows.amin(0).float())
    deviation = torch.maximum(deviation, farthest / _REACH)
    least, most = torch.aminmax(deviation)
    if not (float(least) > 1e-30 and float(most) < 1e30 and bool(mean.isfinite().all())):
        return None
    return Channels(deviation, mean, *_gains(others, mean.repeat(times), deviation.repeat(times), group_size))


def _some(table: Tensor, count: int) -> Tensor:
    """So many rows, a golden section of all from one to the next: no rhythm of the data has that step."""
    rows = len(table)
    count = min(count, rows)
    step = max(int(rows * 0.618), 1)
    while math.gcd(step, rows) > 1:
        step += 1
    return table.index_select(0, torch.tensor([number * step % rows for number in range(count)])).float()


def _halves(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that tell of the channels, and others that tell what it helps; a few rows tell both."""
    half = len(sample) // 2
    return (sample[:half], sample[half:]) if half >= ROWS else (sample, sample)


def _of_channels(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean of each channel; torch's own variance over rows takes twenty times as long."""
    mean = sample.mean(0)
    return (sample - mean).square_().sum(0).div_(len(sample) - 1), mean


def _are_sparse(rows: Tensor, variance: Tensor) -> bool:
    """Whether most values of the channels that have others are zeros."""
    varied = variance > 0
    return float(((rows == 0) & varied).sum()) > _SPARSE * len(rows) * float(varied.sum())


def _is_promising(sample: Tensor, length: int, group_size: int) -> bool:
    """Whether groups are wider than their channels are, in a few rows."""
    channels = _of_channels(sample.view(-1, length))[0].mean()
    ranges = _ranges(sample, group_size).square().mean()
    return bool(ranges > _WIDTH**2 * channels)


def _gains(sample: Tensor, mean: Tensor, deviation: Tensor, group_size: int) -> tuple[float, float]:
    """How many times less noise channels have, each against its own size; and which share of that of all is left.

    Both of groups of the rows that were looked at.
    """
    variance = _grouped(deviation.square()[None], group_size)[0]
    # Mean over rows of the squared range of a group: what the noise of its elements is in proportion to.
    plain = _ranges(sample, group_size).square().mean(0)
    normal = _ranges((sample - mean) / deviation, group_size).square().mean(0)
    alone = (plain[:, None] / variance).clamp(max=1e6).mean()
    together = (normal * variance.mean(1)).sum()
    return float(alone / normal.mean()), float(together / plain.sum())


def _ranges(table: Tensor, group_size: int) -> Tensor:
    """Range of every group of neighbours of every row."""
    groups = _grouped(table, group_size)
    return groups.amax(2) - groups.amin(2)  # several times as fast as both at once


def _grouped(table: Tensor, group_size: int) -> Tensor:
    """Rows cut into groups; the last one has some elements of the one before."""
    length = table.shape[1]
    missing = -length % group_size
    whole = torch.cat((table[:, : length - group_size + missing], table[:, length - group_size :]), 1)
    return (whole if missing else table).view(len(table), -1, group_size)

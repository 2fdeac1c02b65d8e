"""Channels of trained networks that are very different in size, coded each in its own deviations.

NOTE: Why
A trained network has a few channels that are fifty times as large as the others, or that lie far from zero. In a group
that reaches over channels they set the step for all, and the small ones drown, though the weights that read them have
grown with them. So each channel is coded less its mean and over its deviation, both estimated from some of the rows.
Any estimate will do, since what is divided by it is multiplied by it again; on other rows it is seen whether it pays.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..autograd.internals import FakeTensor
from .channels import channels_of, in_memory
from .chunks import flat_of
from .normalised import Figures, Normalised

_LEAST = 2**16
"""Elements of a region that is looked at: of a smaller one the look would cost far more than its code."""
_LONGEST = 2**16
_SHORTEST = 32
_GLANCE, _ROWS = 8, 64
"""So many rows are looked at first, and if that is promising."""
_PROMISING = 1.0
_GAIN, _NO_WORSE = 4.0, 1.25
"""It pays if the channels have so many times less noise, each against its own size and on average, and all together no
more than so many times as much,"""
_LITTLE, _BETTER = 1.5, 0.8
"""or so many times less and no more than so many times as much."""
_FIGURES = 64
"""Bits that a channel's mean and deviation take."""
_FLOOR = 2.0**-6
"""A channel counts as no smaller than this against the others of its group: what was not seen of it may be larger."""
_REACH = 16.0
"""No value lies farther from its channel's mean than so many deviations, or these are taken as larger: what is 0 but
for a few rows, as after a sparse ReLU, would set the step of all other channels wherever it is not."""
_SPARSE = 0.5
"""Share of zeros in channels that are not 0 throughout: plain codes hold them exactly where they are many."""
_WIDTH = 6.0
"""Range of a group, in deviations, of numbers that are alike."""


def by_columns(region: Tensor, group_size: int, much: bool = False) -> Normalised | None:
    """The transform of a region by channels, which are its innermost dimensions; None where nothing would be gained.

    On devices, where looking would wait, and without data there is none.

    Args:
        region: A dense region of a float dtype.
        group_size: Elements of a group.
        much: Whether little is not enough, as where another code would serve.
    """
    if region.numel() < _LEAST or not region.is_cpu or region.dtype == torch.float64:
        return None
    if type(region) is FakeTensor:
        return None
    size, stride = region.size(), region.stride()
    inner, length = _innermost(size, stride, group_size)
    if not _SHORTEST <= length <= _LONGEST or region.numel() // length < _ROWS:
        return None
    # As many rows as a group reaches over are looked at as one.
    times = -(-group_size // length)
    frames = region.numel() // (length * times)
    table = flat_of(region.detach())[: frames * length * times].view(frames, length * times)
    if not _is_promising(_some(table, _GLANCE), length, group_size):
        return None
    sample, others = _halves(_some(table, 2 * _ROWS))
    variance, mean = _of_channels(sample.view(-1, length))
    if _are_sparse(sample.view(-1, length), variance):
        return None
    deviation = variance.sqrt()
    typical = _grouped(variance.repeat(times)[None], group_size).mean(2)[0].sqrt()
    deviation = torch.maximum(deviation, (typical * _FLOOR).repeat_interleave(group_size)[:length])
    deviation = torch.maximum(deviation, _farthest(flat_of(region.detach()).view(-1, length), mean) / _REACH)
    if not _are_sane(deviation, mean):
        return None
    less, left = _gains(others, mean.repeat(times), deviation.repeat(times), group_size)
    price = 4.0 ** (_FIGURES * length / region.numel())  # what as many bits would do if codes had them
    less, left = less / price, left * price
    if not (less > _GAIN and left < _NO_WORSE) and (much or not (less > _LITTLE and left < _BETTER)):
        return None
    rstd = deviation.reciprocal()
    shape = [size[dim] if dim in inner else 1 for dim in range(len(size))]
    channels = channels_of(size, stride, torch.Size(shape))
    if channels is None:
        return None
    held = rstd.nbytes + mean.nbytes
    rstd, mean = (_shaped(each, inner, size, shape) for each in (rstd, mean))
    return Normalised(channels, Figures(size, stride, rstd, mean, held))


def _innermost(size: torch.Size, stride: tuple[int, ...], least: int) -> tuple[list[int], int]:
    """The innermost dimensions that have together as many elements as a group, as they lie in memory, and how many.

    Fewer where they would leave too few rows.
    """
    inner: list[int] = []
    length, numel = 1, size.numel()
    for dim in reversed(in_memory(size, stride)):
        if length >= least or (length >= _SHORTEST and numel < length * size[dim] * _ROWS):
            break
        inner.insert(0, dim)
        length *= size[dim]
    return inner, length


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
    return (sample[:half], sample[half:]) if half >= _ROWS else (sample, sample)


def _of_channels(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean of each channel; torch's own variance over rows takes twenty times as long."""
    mean = sample.mean(0)
    return (sample - mean).square_().sum(0).div_(len(sample) - 1), mean


def _are_sparse(rows: Tensor, variance: Tensor) -> bool:
    """Whether most values of the channels that have others are zeros."""
    varied = variance > 0
    return float(((rows == 0) & varied).sum()) > _SPARSE * len(rows) * float(varied.sum())


def _farthest(rows: Tensor, mean: Tensor) -> Tensor:
    """How far from its mean each channel gets; the two extremes apart take a fifth of the time of both at once."""
    return torch.maximum(rows.amax(0).float() - mean, mean - rows.amin(0).float())


def _is_promising(sample: Tensor, length: int, group_size: int) -> bool:
    """Whether groups are wider than their channels are, in a few rows."""
    channels = _of_channels(sample.view(-1, length))[0].mean()
    ranges = _ranges(sample, group_size).square().mean()
    return bool(ranges > _PROMISING * _WIDTH**2 * channels)


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


def _are_sane(deviation: Tensor, mean: Tensor) -> bool:
    least, most = torch.aminmax(deviation)
    return float(least) > 1e-30 and float(most) < 1e30 and bool(mean.isfinite().all())


def _shaped(figures: Tensor, inner: list[int], size: torch.Size, shape: list[int]) -> Tensor:
    """Figures of channels in memory order, in a shape that broadcasts to the region."""
    order = sorted(range(len(inner)), key=inner.__getitem__)
    return figures.view([size[dim] for dim in inner]).permute(order).reshape(shape)

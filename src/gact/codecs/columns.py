"""Channels of trained networks that are very different in size, coded each in its own deviations.

NOTE: Why
A trained network has a few channels that are fifty times as large as the others, or that lie far from zero. In a group
that reaches over channels they set the step for all, and the small ones drown, though the weights that read them have
grown with them. So each channel is coded less its mean and over its deviation, both estimated from some of the rows.
Any estimate will do, since what is divided by it is multiplied by it again; on other rows it is seen whether it pays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.columns import ROWS, look_at
from .channels import channels_of, in_memory
from .choice import is_looked_at
from .chunks import flat_of
from .normalised import Figures, Normalised

_LONGEST = 2**16
_SHORTEST = 32
_GAIN, _NO_WORSE = 4.0, 1.25
"""It pays if the channels have so many times less noise, each against its own size and on average, and all together no
more than so many times as much,"""
_LITTLE, _BETTER = 1.5, 0.8
"""or so many times less and no more than so many times as much."""
_FIGURES = 64
"""Bits that a channel's mean and deviation take."""


def by_columns(region: Tensor, group_size: int, much: bool = False) -> Normalised | None:
    """The transform of a region by channels, which are its innermost dimensions; None where nothing would be gained.

    On devices, where looking would wait, and without data there is none.

    Args:
        region: A dense region of a float dtype.
        group_size: Elements of a group.
        much: Whether little is not enough, as where another code would serve.
    """
    if not is_looked_at(region):
        return None
    numel, size, stride = region.numel(), region.size(), region.stride()
    inner, length = _innermost(size, stride, group_size)
    if not _SHORTEST <= length <= _LONGEST or numel // length < ROWS:
        return None
    found = look_at(flat_of(region.detach()), length, group_size)
    if found is None:
        return None
    price = 4.0 ** (_FIGURES * length / numel)  # what as many bits would do if codes had them
    less, left = found.less / price, found.left * price
    if not (less > _GAIN and left < _NO_WORSE) and (much or not (less > _LITTLE and left < _BETTER)):
        return None
    shape = [size[dim] if dim in inner else 1 for dim in range(len(size))]
    channels = channels_of(size, stride, torch.Size(shape))
    if channels is None:
        return None
    rstd, mean = (_shaped(each, inner, size, shape) for each in (found.deviation.reciprocal(), found.mean))
    return Normalised(channels, Figures(size, stride, rstd, mean, rstd.nbytes + mean.nbytes))


def _innermost(size: torch.Size, stride: tuple[int, ...], least: int) -> tuple[list[int], int]:
    """The innermost dimensions that have together as many elements as a group, as they lie in memory, and how many.

    Fewer where they would leave too few rows.
    """
    inner: list[int] = []
    length, numel = 1, size.numel()
    for dim in reversed(in_memory(size, stride)):
        if length >= least or (length >= _SHORTEST and numel < length * size[dim] * ROWS):
            break
        inner.insert(0, dim)
        length *= size[dim]
    return inner, length


def _shaped(figures: Tensor, inner: list[int], size: torch.Size, shape: list[int]) -> Tensor:
    """Figures of channels in memory order, in a shape that broadcasts to the region."""
    order = sorted(range(len(inner)), key=inner.__getitem__)
    return figures.view([size[dim] for dim in inner]).permute(order).reshape(shape)

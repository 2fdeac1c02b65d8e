"""Normalisations run again with the statistics of the forward pass, and as lines: a factor and a shift per channel.

Each function gets the source, or the layout of the result, then weight and bias where there are any, the mean and the
reciprocal deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Lines = Sequence[tuple[Tensor, int]]
"""Factors and shifts as float32 ``[2, channels]``, each with how many neighbours in memory share a channel."""


def _layer_norm(out: Tensor | None, source: Tensor, *rest: Tensor) -> Tensor:
    """``(x - mean) * rstd * weight + bias``, one pair of statistics per row."""
    *affine, mean, rstd = rest
    out = torch.sub(source, mean, out=out).mul_(rstd)
    for apply, parameter in zip((out.mul_, out.add_), affine, strict=False):
        apply(parameter)
    return out


def _batch_norm(out: Tensor | None, source: Tensor, *rest: Tensor) -> Tensor:
    """Batch norm with one pair of statistics per channel, folded into one multiply and add."""
    *affine, mean, rstd = rest
    factor, shift = _folded(mean, rstd, affine)
    shape = (1, -1, *[1] * (source.dim() - 2))
    return torch.addcmul(shift.view(shape), source, factor.view(shape), out=out)


def _group_norm(groups: int, out: Tensor | None, source: Tensor, *rest: Tensor) -> Tensor:
    """Group norm with one pair of statistics per sample and group of channels."""
    *affine, mean, rstd = rest
    mean, rstd = (_per_channel(figure, groups, source.shape) for figure in (mean, rstd))
    factor, shift = _folded(mean, rstd, affine)
    shape = (*source.shape[:2], *[1] * (source.dim() - 2))
    return torch.addcmul(shift.view(shape), source, factor.view(shape), out=out)


def _per_channel(figure: Tensor, groups: int, size: torch.Size) -> Tensor:
    """A statistic of samples and groups as one of samples and channels."""
    batch, channels = size[:2]
    return figure.reshape(batch, groups).repeat_interleave(channels // groups, 1)


def _folded(mean: Tensor, rstd: Tensor, affine: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Factor and shift of a normalisation followed by its weight and bias."""
    factor = rstd * affine[0] if affine else rstd
    shift = -mean * factor
    return factor, shift + affine[1] if len(affine) > 1 else shift


def _line(factor: Tensor, shift: Tensor) -> Tensor:
    return torch.stack((factor.flatten(), shift.flatten())).float()


def _layer_norm_lines(size: torch.Size, stride: Sequence[int], *rest: Tensor) -> Lines | None:
    """One line per row, then weight and bias as one per column; None if rows are not what lies together in memory."""
    *affine, mean, rstd = rest
    columns = size.numel() // mean.numel()
    if not _is_contiguous(size, stride):
        return None
    rows = (_line(rstd, -mean * rstd), columns)
    if not affine:
        return [rows]
    weight = affine[0]
    return [rows, (_line(weight, affine[1] if len(affine) > 1 else torch.zeros_like(weight)), 1)]


def _batch_norm_lines(size: torch.Size, stride: Sequence[int], *rest: Tensor) -> Lines:
    """One line per channel, in any order of dimensions."""
    *affine, mean, rstd = rest
    return [(_line(*_folded(mean, rstd, affine)), stride[1] if size[1] > 1 else 1)]


def _group_norm_lines(groups: int, size: torch.Size, stride: Sequence[int], *rest: Tensor) -> Lines | None:
    """One line per sample and channel; None if the channels of a sample do not lie one after the other."""
    *affine, mean, rstd = rest
    if not _is_contiguous(size, stride):
        return None
    mean, rstd = (_per_channel(figure, groups, size) for figure in (mean, rstd))
    return [(_line(*_folded(mean, rstd, affine)), size[2:].numel())]


def _is_contiguous(size: torch.Size, stride: Sequence[int]) -> bool:
    expected = 1
    for extent, step in zip(reversed(size), reversed(stride), strict=True):
        if extent != 1 and step != expected:
            return False
        expected *= extent
    return True


class Norm(NamedTuple):
    """A normalisation.

    Attributes:
        run: Runs it, into the memory of ``out`` unless that is None.
        lines: Gives it as lines for a result of that size and stride; None where it cannot be had so.
    """

    run: Callable[..., Tensor]
    lines: Callable[..., Lines | None]


NORMS = {
    "layer_norm": Norm(_layer_norm, _layer_norm_lines),
    "batch_norm": Norm(_batch_norm, _batch_norm_lines),
    "group_norm": Norm(_group_norm, _group_norm_lines),
}

"""Statistics of what is normalised: nodes of autograd's graph hold them, or take them again in backward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..autograd.nodes import signed
from .normalised import Figures, Normalised, normalised


def normalised_by(node: Any) -> Callable[[Tensor, int], Normalised | None] | None:
    """What makes the transform of the input that a node has saved, for groups of some size.

    None if the node does not normalise.

    Args:
        node: A node, of a class that torch names after the op: ``NativeLayerNormBackward0``.
    """
    read = _NODES.get(type(node).__name__)
    return None if read is None else partial(_made, read, node)


_Read = Callable[[Any, Tensor], Figures | None]


def _made(read: _Read, node: Any, region: Tensor, group_size: int) -> Normalised | None:
    figures = read(node, region)
    return None if figures is None else normalised(figures, region.dtype, group_size)


def _layer_norm(node: Any, region: Tensor) -> Figures:
    return Figures(region.size(), region.stride(), node._saved_result2, node._saved_result1)


def _rms_norm(node: Any, region: Tensor) -> Figures:
    return Figures(region.size(), region.stride(), node._saved_result1, None)


def _group_norm(node: Any, region: Tensor) -> Figures | None:
    """Statistics of groups of channels, which are dimensions of the region if that of channels is cut in two."""
    (batch, channels, *extents), (outer, step, *steps) = region.size(), region.stride()
    groups, mean, rstd = node._saved_group, node._saved_result1, node._saved_result2
    if channels % groups or rstd.numel() != batch * groups:
        return None
    size, stride = (batch, groups, channels // groups, *extents), (outer, step * (channels // groups), step, *steps)
    shape = (batch, groups, *[1] * (len(size) - 2))
    return Figures(size, stride, rstd.reshape(shape), mean.reshape(shape))


def _batch_norm(node: Any, region: Tensor) -> Figures | None:
    """Statistics of the batch, or copies of the running ones, which may change."""
    mean, rstd, held = node._saved_result1, node._saved_result2, 0
    if not getattr(node, "_saved_training", True):
        mean, variance = node._saved_running_mean, node._saved_running_var
        if mean is None or variance is None:
            return None
        mean, rstd = mean.float().clone(), (variance.float() + node._saved_eps).rsqrt()
        held = mean.nbytes + rstd.nbytes
    shape = (1, rstd.numel(), *[1] * (region.dim() - 2))
    return Figures(region.size(), region.stride(), rstd.reshape(shape), mean.reshape(shape), held)


def _spread(node: Any, region: Tensor) -> Figures:
    """Means and deviations of what a variance was taken of, which backward takes again."""
    dims = node._saved_dim
    over = tuple(range(region.dim())) if not dims else tuple(map(signed, dims))
    exact = region.detach().float()
    deviation, mean = torch.std_mean(exact, over, correction=0, keepdim=True)
    rstd = torch.where(deviation > 0, deviation, 1.0).reciprocal()
    return Figures(region.size(), region.stride(), rstd, mean, mean.nbytes + rstd.nbytes)


_NODES: dict[str, _Read] = {
    "StdBackward0": _spread,
    "StdMeanBackward0": _spread,
    "VarBackward0": _spread,
    "VarMeanBackward0": _spread,
    "NativeLayerNormBackward0": _layer_norm,
    "FusedRmsNormBackward0": _rms_norm,
    "NativeGroupNormBackward0": _group_norm,
    "NativeBatchNormBackward0": _batch_norm,
    "CudnnBatchNormBackward0": _batch_norm,
    "MiopenBatchNormBackward0": _batch_norm,
}

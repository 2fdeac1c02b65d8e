"""Normalisations: their inputs are coded as backward reads them, their statistics are exact.

NOTE: Few elements
The gradient of what is normalised has no mean and nothing along the input: both are taken away from it. Of few elements
(a batch norm of small maps) that leaves little, beside which rounding is large. So they have 8 bits until it is known
how much the gradient suffers.

NOTE: Rows that are outweighed
The row is read twice, and once in a sum with the gradient, so the square of its rounding acts on the gradient. Where
one value is a thousand times the others (the first token of a language model) a code of 2 bits has a rounding larger
than the row: what it does to the gradient would grow with each layer. Such regions have a bit more until it does not.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

from torch import Tensor

from .need import FEW, NORMALISED, SHAPE, VALUE, Need, entries, exact, merged

_FEW = replace(NORMALISED, prior_bits=8)


def _batch_norm(node: Any, tensor: Tensor) -> Need:
    """In training the batch's own statistics are on the node, in evaluation the running ones."""
    if not getattr(node, "_saved_training", True):
        return NORMALISED
    return _FEW if tensor.dim() > 1 and tensor.numel() < FEW * tensor.shape[1] else NORMALISED


def _group_norm(node: Any, tensor: Tensor) -> Need:
    return _FEW if tensor.numel() < FEW * tensor.shape[0] * node._saved_group else NORMALISED


def _layer_norm(node: Any, tensor: Tensor) -> Need:
    return _of_rows(math.prod(node._saved_normalized_shape))


@cache
def _of_rows(row: int) -> Need:
    return replace(_FEW if row < FEW else NORMALISED, row=row)


_WEIGHTS = """
    BatchNormNoUpdateBackward0 weight
    BatchNormWithUpdateBackward0 weight
    CudnnBatchNormBackward0 weight
    FusedRmsNormBackward0 weight
    MiopenBatchNormBackward0 weight
    NativeBatchNormBackward0 weight
    NativeBatchNormLegitBackward0 weight
    NativeBatchNormLegitBackward1 weight
    NativeBatchNormLegitNoTrainingBackward0 weight
    NativeGroupNormBackward0 weight
    NativeLayerNormBackward0 weight
"""

_BATCH_NORMS = """
    CudnnBatchNormBackward0 input
    MiopenBatchNormBackward0 input
    NativeBatchNormBackward0 input
    NativeBatchNormLegitBackward0 input
    NativeBatchNormLegitBackward1 input
    BatchNormWithUpdateBackward0 input
"""

_STATISTICS = """
    BatchNormNoUpdateBackward0 running_mean running_var result1 result2 result3
    BatchNormWithUpdateBackward0 running_mean running_var result1 result2 result3
    CudnnBatchNormBackward0 running_mean running_var result1 result2 result3
    FusedRmsNormBackward0 result1
    MiopenBatchNormBackward0 running_mean running_var result1 result2
    NativeBatchNormBackward0 running_mean running_var result1 result2
    NativeBatchNormLegitBackward0 running_mean running_var result1 result2
    NativeBatchNormLegitBackward1 result1 result2
    NativeBatchNormLegitNoTrainingBackward0 running_mean running_var result1 result2
    NativeGroupNormBackward0 result1 result2
    NativeLayerNormBackward0 result1 result2
    WeightNormInterfaceBackward0 v g result1
"""

NORMS = merged(
    entries(_batch_norm, _BATCH_NORMS),
    entries(_group_norm, "NativeGroupNormBackward0 input"),
    entries(_layer_norm, "FusedRmsNormBackward0 input\nNativeLayerNormBackward0 input"),
    entries(VALUE, "BatchNormNoUpdateBackward0 input\nNativeBatchNormLegitNoTrainingBackward0 input"),
    entries(VALUE, _WEIGHTS),
    entries(SHAPE, "NativeLayerNormBackward0 bias"),
    entries(exact("statistic"), _STATISTICS),
)

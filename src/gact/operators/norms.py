"""Normalisations: their inputs are coded as backward reads them, their statistics are exact."""

from __future__ import annotations

from torch import Tensor
from torch.autograd.graph import Node

from .need import NORMALISED, SHAPE, VALUE, Need, entries, exact, merged


def _batch_norm(node: Node, tensor: Tensor) -> Need:
    """In training the batch's own statistics are on the node; in evaluation backward is linear in the input."""
    return NORMALISED if getattr(node, "_saved_training", True) else VALUE


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
    entries(
        NORMALISED,
        """
        BatchNormWithUpdateBackward0 input
        FusedRmsNormBackward0 input
        NativeGroupNormBackward0 input
        NativeLayerNormBackward0 input
        """,
    ),
    entries(VALUE, "BatchNormNoUpdateBackward0 input\nNativeBatchNormLegitNoTrainingBackward0 input"),
    entries(VALUE, _WEIGHTS),
    entries(SHAPE, "NativeLayerNormBackward0 bias"),
    entries(exact("statistic"), _STATISTICS),
)

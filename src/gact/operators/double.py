"""Nodes of a double backward: what a gradient that is differentiated again saves."""

from __future__ import annotations

from dataclasses import replace

from ..codecs.bent import SCALES
from .bounds import bounded, saved
from .losses import LOG_PROBABILITIES
from .need import VALUE, entries, exact, merged
from .pointwise import SIGMOID, softplus

# The gradients that come in are multiplied; tanh, sigmoid, GELU and GLU are as smooth as in the first backward.
_VALUES = """
    ConvolutionBackwardBackward0 grad_output input weight
    ConvolutionBackwardOverrideableBackward0 grad_output input weight
    EluBackwardBackward0 grad_output
    GeluBackwardBackward0 grad_output
    GluBackwardBackward0 grad_output
    HardswishBackwardBackward0 grad_output
    LinearBackwardBackward0 grad_output self weight
    LogSigmoidBackwardBackward0 grad_output
    LogSoftmaxBackwardDataBackward0 grad_output
    MpsConvolutionBackwardBackward0 grad_output self weight
    MseLossBackwardBackward0 grad_output self target
    NativeDropoutBackwardBackward0 grad_output
    NllLoss2DBackwardBackward0 weight
    NllLossBackwardBackward0 weight
    SigmoidBackwardBackward0 grad_output output
    SlowConv2DBackwardBackward0 grad_output self weight
    SoftmaxBackwardDataBackward0 grad_output output
    SoftplusBackwardBackward0 grad_output
    TanhBackwardBackward0 grad_output output
"""

_COMPARED = """
    BinaryCrossEntropyBackwardBackward0 grad_output self target weight
    EluBackwardBackward0 self_or_result
    HardswishBackwardBackward0 self
    HuberLossBackwardBackward0 grad_output self target
    LogSigmoidBackwardBackward0 self buffer
    PreluKernelBackwardBackward0 grad_output self weight
    RreluWithNoiseBackwardBackward0 self noise
    SmoothL1LossBackwardBackward0 grad_output self target
    SoftMarginLossBackwardBackward0 grad_output self target
"""

_NORMS = """
    BatchNormBackwardBackward0 grad_out input weight running_mean running_var save_mean save_var reserve
    CudnnBatchNormBackwardBackward0 grad_output input weight running_mean running_var save_mean save_var reserveSpace
    MiopenBatchNormBackwardBackward0 grad_output input weight running_mean running_var save_mean save_var
    NativeBatchNormBackwardBackward0 grad_out input weight running_mean running_var save_mean save_invstd
    NativeLayerNormBackwardBackward0 grad_out input weight mean rstd
"""

_GRIDS = """
    CudnnGridSamplerBackwardBackward0 grad_output grid self
    GridSampler2DBackwardBackward0 grad_output grid input
    GridSampler2DCpuFallbackBackwardBackward0 grad_output grid input
    GridSampler3DBackwardBackward0 grad_output grid input
"""

_DISTANCES = """
    CdistBackwardBackward0 grad_output x1 x2 cdist
    PdistBackwardBackward0 grad_output self pdist
"""

_shrunk = saved("lambd", negative=True), saved("lambd")
DOUBLE = merged(
    entries(VALUE, _VALUES),
    entries(replace(VALUE, turn=SCALES["gelu"]), "GeluBackwardBackward0 self"),
    entries(SIGMOID, "GluBackwardBackward0 self"),
    entries(LOG_PROBABILITIES, "LogSoftmaxBackwardDataBackward0 output"),
    entries(softplus, "SoftplusBackwardBackward0 self"),
    entries(bounded("threshold", saved("threshold")), "ThresholdBackwardBackward0 self"),
    entries(bounded("leaky_relu", 0.0), "LeakyReluBackwardBackward0 self"),
    entries(bounded("hardtanh", saved("min_val"), saved("max_val")), "HardtanhBackwardBackward0 self"),
    entries(bounded("hardshrink", *_shrunk), "HardshrinkBackwardBackward0 self"),
    entries(bounded("softshrink", *_shrunk), "SoftshrinkBackwardBackward0 self"),
    entries(exact("sign or logarithm"), _COMPARED),
    entries(exact("double backward of a norm"), _NORMS),
    entries(exact("coordinates"), _GRIDS),
    entries(exact("distance"), _DISTANCES),
    entries(exact("index"), "NllLossBackwardBackward0 target\nNllLoss2DBackwardBackward0 target"),
    entries(exact("bool mask"), "NativeDropoutBackwardBackward0 mask"),
)

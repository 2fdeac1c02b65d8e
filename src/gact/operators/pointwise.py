"""Functions of each element by itself: smooth ones, those with poles, those that compare."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor
from torch.autograd.graph import Node

from ..codecs.bent import SCALES
from .bounds import between, bounded, clamped, saved
from .exponentials import exponential
from .need import SHAPE, VALUE, WIDE, Need, entries, exact, merged

_SIGN = exact("sign")
_PRELU = Need("value", form="prelu")
# It stands between batch norms and depthwise convolutions, whose gradients nearly cancel, and what the rounding of its
# slope adds grows from layer to layer: at 4 bits that is most of all noise, at 6 bits little of it.
_HARDSWISH = Need("value", form="hardswish", prior_bits=6)
SIGMOID = Need("value", turn=SCALES["silu"])
_EXPONENTIAL = replace(WIDE, turn=1.0)
_POWER = exact("raised to a power")
_COMPARED = exact("compared")
# At 8 bits a factor x ** (n - 1) is off by (n - 1) / 255 of the largest.
_GREATEST_POWER = 8


def _number(node: Node, name: str) -> float:
    """A number of the formula; NaN if it is missing, symbolic or complex."""
    value = getattr(node, f"_saved_{name}", None)
    return float(value) if isinstance(value, (int, float)) else math.nan


def _power(node: Node, tensor: Tensor) -> Need:
    """A power with a number as exponent; of a broken one rounding may turn a small base negative."""
    exponent = _number(node, "exponent")
    if not 0 <= exponent <= _GREATEST_POWER or exponent != int(exponent):
        return _POWER
    return SHAPE if exponent <= 1 else _of_squares(tensor) if exponent == 2 else WIDE


def _of_squares(tensor: Tensor) -> Need:
    """A square may be that of a norm that is written out: a mean over the last dimension."""
    return replace(VALUE, row=tensor.shape[-1]) if tensor.dim() else VALUE


def _exponential(node: Node, tensor: Tensor) -> Need:
    """The result of a power with a number as base; with the base 0 backward compares the exponent."""
    return VALUE if 0 < _number(node, "self") < math.inf else _POWER


def _exponent(node: Node, tensor: Tensor) -> Need:
    return SHAPE if 0 < _number(node, "self") < math.inf else _POWER


def _rounded_quotient(node: Node, tensor: Tensor) -> Need:
    """A division with a rounding mode has no gradient; one without is a division."""
    return SHAPE if getattr(node, "_saved_rounding_mode", None) in ("trunc", "floor") else exact("divided by")


def _elu(node: Node, tensor: Tensor) -> Need:
    """ELU's slope is continuous where ``alpha * input_scale`` is 1, with a kink at 0, and otherwise jumps there."""
    scale = _number(node, "input_scale")
    return _EXPONENTIAL if _number(node, "alpha") * scale == 1 and scale <= 1 else _SIGN


def _celu(node: Node, tensor: Tensor) -> Need:
    """CELU's slope is continuous; it falls from 1 to 0 within ``alpha``."""
    return _EXPONENTIAL if _number(node, "alpha") >= 1 else _SIGN


def softplus(node: Node, tensor: Tensor) -> Need:
    """Softplus' slope is a sigmoid, and 1 above the threshold, where it jumps unless the sigmoid is 1 already."""
    smooth = 0 < _number(node, "beta") <= 1 and _number(node, "threshold") >= 10
    return SIGMOID if smooth else _COMPARED


def _prelu(node: Node, tensor: Tensor) -> Need:
    """The gradient of the slopes reads the value where it is negative; that of the input reads its sign."""
    if node.next_functions[1][0] is None:
        return _prelu_sign(node, tensor)
    return _SIGN if between("prelu", tensor) is None else _PRELU


def _hardswish(node: Node, tensor: Tensor) -> Need:
    """Hardswish's slope is a line between -3 and 3, and jumps there."""
    return _COMPARED if between("hardswish", tensor) is None else _HARDSWISH


_prelu_sign = bounded("prelu", 0.0)
_rrelu_sign = bounded("rrelu", 0.0)


def _random_slopes(node: Node) -> bool:
    """Whether RReLU multiplies with slopes that it drew, rather than with their mean below 0."""
    drawn = _number(node, "upper") - _number(node, "lower") > 1e-4
    return drawn and getattr(node, "_saved_training", False) is True


def _rrelu(node: Node, tensor: Tensor) -> Need:
    return SHAPE if _random_slopes(node) else _rrelu_sign(node, tensor)


def _rrelu_noise(node: Node, tensor: Tensor) -> Need:
    return VALUE if _random_slopes(node) else SHAPE


_VALUES = """
    Expm1Backward0 result
"""

# Smooth, without a pole, with slopes that turn within a unit.
_TURNING = """
    AsinhBackward0 self
    AtanBackward0 self
    ErfBackward0 self
    ErfcBackward0 self
"""

# With slopes that are e times as large a unit later, and never stay.
_GROWING = """
    CoshBackward0 self
    SinhBackward0 self
"""

_DIVIDED = """
    AcosBackward0 self
    AcoshBackward0 self
    AsinBackward0 self
    Atan2Backward0 self other
    AtanhBackward0 self
    FmodBackward1 self other
    HypotBackward0 self other result
    Log10Backward0 self
    Log1PBackward0 self
    Log2Backward0 self
    LogBackward0 self
    ReciprocalBackward0 result
    RemainderBackward1 self other
    RsqrtBackward0 result
    SincBackward0 self
    SpecialXlog1PyBackward0 self other
    SpecialXlog1PyBackward1 other
    SqrtBackward0 result
    XlogyBackward0 self other
    XlogyBackward1 other
"""

_STEEP = """
    DigammaBackward0 self
    ErfinvBackward0 self
    FrexpBackward0 exponent
    I0Backward0 self
    IgammaBackward0 self other
    IgammacBackward0 self other
    LdexpBackward0 other result
    LgammaBackward0 self
    LogSigmoidBackward0 self buffer
    Logaddexp2Backward0 self other
    LogaddexpBackward0 self other
    LogitBackward0 self
    MvlgammaBackward0 self
    PolygammaBackward0 self
    PolygammaBackward1 self
    SpecialEntrBackward0 self
    SpecialErfcxBackward0 self result
    SpecialI0EBackward0 self result
    SpecialI1Backward0 self result
    SpecialI1EBackward0 self result
    SpecialLogNdtrBackward0 self result
    SpecialNdtriBackward0 result
    SpecialZetaBackward0 self other
    SpecialZetaBackward1 other
    StandardGammaBackward0 self result
    TanBackward0 result
"""

_SIGNS = """
    AbsBackward0 self
    AngleBackward0 self
    CopysignBackward0 self result
    CopysignBackward1 self result
    PolarBackward0 result
    SgnBackward0 self result
"""

_COMPARISONS = """
    ClampBackward0 self min max
    ClampMaxBackward1 self max
    ClampMinBackward1 self min
    FakeQuantizeLearnablePerChannelAffineBackward0 self scale zero_point
    FakeQuantizeLearnablePerTensorAffineBackward0 self scale zero_point
    NanToNumBackward0 self
    NextafterBackward0 self other
    SpecialXlog1PyBackward2 self
    XlogyBackward2 self
"""

# See ``comparisons.py``.
_ORDERS = """
    FmaxBackward0 self other
    FminBackward0 self other
    MaximumBackward0 self other
    MinimumBackward0 self other
"""

_MASKS = merged(
    entries(bounded("relu", 0.0), "ReluBackward0 result"),
    entries(bounded("leaky_relu", 0.0), "LeakyReluBackward0 self\nLeakyReluBackward1 result"),
    entries(bounded("threshold", saved("threshold")), "ThresholdBackward0 self\nThresholdBackward1 self"),
    entries(bounded("hardtanh", saved("min_val"), saved("max_val")), "HardtanhBackward0 self"),
    entries(bounded("hardsigmoid", -3.0, 3.0), "HardsigmoidBackward0 self"),
    entries(bounded("hardshrink", saved("lambd", negative=True), saved("lambd")), "HardshrinkBackward0 self"),
    entries(bounded("softshrink", saved("lambd", negative=True), saved("lambd")), "SoftshrinkBackward0 self"),
    entries(clamped, "ClampBackward1 self"),
    entries(bounded("clamp_min", saved("min")), "ClampMinBackward0 self"),
    entries(bounded("clamp_max", None, saved("max")), "ClampMaxBackward0 self"),
)

POINTWISE = merged(
    entries(VALUE, _VALUES),
    entries(SIGMOID, "GluBackward0 self"),
    entries(replace(WIDE, turn=0.7), _TURNING),
    entries(replace(WIDE, turn=0.5), _GROWING),
    entries(Need("value", form="gelu", turn=SCALES["gelu"]), "GeluBackward0 self"),
    entries(Need("value", form="mish", turn=SCALES["mish"]), "MishBackward0 self"),
    entries(Need("value", form="silu", turn=SCALES["silu"]), "SiluBackward0 self"),
    entries(Need("value", form="cosine"), "SinBackward0 self"),
    entries(Need("value", form="sine"), "CosBackward0 self"),
    entries(Need("value", form="tanh"), "TanhBackward0 result"),
    entries(Need("value", form="sigmoid"), "SigmoidBackward0 result"),
    entries(exponential, "Exp2Backward0 result\nExpBackward0 result"),
    entries(exact("divided by"), _DIVIDED),
    entries(exact("steep function"), _STEEP),
    entries(_SIGN, _SIGNS),
    entries(_COMPARED, _COMPARISONS),
    entries(exact("compared with each other"), _ORDERS),
    _MASKS,
    entries(_power, "PowBackward0 self"),
    entries(_POWER, "PowBackward1 self exponent result"),
    entries(_exponential, "PowBackward2 result"),
    entries(_exponent, "PowBackward2 exponent"),
    entries(_rounded_quotient, "DivBackward2 self other"),
    entries(_elu, "EluBackward0 self\nEluBackward1 result"),
    entries(_celu, "CeluBackward0 self\nCeluBackward1 result"),
    entries(softplus, "SoftplusBackward0 self"),
    entries(_hardswish, "HardswishBackward0 self"),
    entries(_prelu, "PreluKernelBackward0 self"),
    entries(VALUE, "PreluKernelBackward0 weight"),
    entries(
        _rrelu, "RreluWithNoiseBackward0 self\nRreluWithNoiseBackward1 result\nRreluWithNoiseFunctionalBackward0 self"
    ),
    entries(
        _rrelu_noise,
        "RreluWithNoiseBackward0 noise\nRreluWithNoiseBackward1 noise\nRreluWithNoiseFunctionalBackward0 noise",
    ),
)

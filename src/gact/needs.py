"""What the backward of an op needs of a tensor it saved.

NOTE: The consumer decides the code
Stochastic rounding keeps the expectation of a value, which is what a backward needs that is linear in it (a matrix
product, a convolution, a product). Others look at a sign, an index or an equality, which rounding destroys: ReLU's
sign costs one exact bit where a rounded value turns ResNet-50's gradient into noise. Others divide by the value, or
raise it to a power, and turn rounding into bias. The table below says which is which; what it does not name is taken
as linear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .codecs.masks import MaskTest


@dataclass(frozen=True, slots=True)
class Need:
    """What must survive of a saved tensor.

    Attributes:
        kind: ``"value"`` (an unbiased estimate), ``"mask"`` (which side of a bound) or ``"exact"``.
        least_bits: Least width of a value's code.
        mask: The test of a mask.
        why: For exact ones, what the backward does with the value.
    """

    kind: str
    least_bits: int = 1
    mask: MaskTest | None = None
    why: str = ""


Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
Chooser = Callable[[Tensor, Arguments], Need]

VALUE = Need("value")
WIDE = Need("value", least_bits=8)
_SIGN = Need("mask", mask=MaskTest())


def _exact(why: str) -> Need:
    return Need("exact", why=why)


def need_of(op: str, tensor: Tensor, arguments: Arguments) -> Need:
    """What the backward of an op needs.

    Args:
        op: Name of the op that is saving, as torch names it.
        tensor: The tensor it saves.
        arguments: Positional and keyword arguments of the op.
    """
    chosen = _NEEDS.get(op, VALUE)
    return chosen if isinstance(chosen, Need) else chosen(tensor, arguments)


def argument(arguments: Arguments, position: int, name: str, default: Any) -> Any:
    """An argument by position or name."""
    positional, keywords = arguments
    return positional[position] if len(positional) > position else keywords.get(name, default)


def is_argument(tensor: Tensor, candidate: Any) -> bool:
    """Whether a saved tensor is this argument of the op: same storage, offset and number of elements."""
    return (
        isinstance(candidate, Tensor)
        and candidate.layout is torch.strided
        and candidate.numel() == tensor.numel()
        and candidate.storage_offset() == tensor.storage_offset()
        and candidate.untyped_storage()._cdata == tensor.untyped_storage()._cdata
    )


def _between(low: Any, high: Any) -> Need:
    """A test for ``low < x < high`` that decodes inside and outside of the bounds."""
    if not all(isinstance(bound, (int, float)) for bound in (low, high)):
        return _exact("compared with tensors")
    if math.isfinite(low) and math.isfinite(high):
        inside = low / 2 + high / 2
    else:
        inside = low + 1 if math.isfinite(low) else high - 1
    outside = low - 1 if math.isfinite(low) else high + 1
    return Need("mask", mask=MaskTest(float(low), float(high), float(outside), float(inside)))


def _hardtanh(tensor: Tensor, arguments: Arguments) -> Need:
    return _between(argument(arguments, 1, "min_val", -1.0), argument(arguments, 2, "max_val", 1.0))


def _clamp(tensor: Tensor, arguments: Arguments) -> Need:
    """Clamp's bounds are inclusive: the gradient passes at the bound itself."""
    low, high = argument(arguments, 1, "min", None), argument(arguments, 2, "max", None)
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if not all(isinstance(bound, (int, float)) for bound in (low, high)) or not low < high:
        return _exact("compared with tensors")
    down, up = (float(_next(bound, toward, tensor.dtype)) for bound, toward in ((low, -math.inf), (high, math.inf)))
    return _between(down, up)


def _next(bound: float, toward: float, dtype: torch.dtype) -> float:
    value = torch.tensor(float(bound), dtype=dtype)
    if dtype in (torch.float32, torch.float64):
        return float(torch.nextafter(value, torch.tensor(toward, dtype=dtype)))
    # Half precision has no nextafter; its values are multiples of far more than float32's step.
    return float(torch.nextafter(value.float(), torch.tensor(toward)))


def _clamp_min(tensor: Tensor, arguments: Arguments) -> Need:
    return _clamp(tensor, ((None, argument(arguments, 1, "min", None), None), {}))


def _clamp_max(tensor: Tensor, arguments: Arguments) -> Need:
    return _clamp(tensor, ((None, None, argument(arguments, 1, "max", None)), {}))


def _threshold(tensor: Tensor, arguments: Arguments) -> Need:
    bound = argument(arguments, 1, "threshold", None)
    return _between(bound, math.inf)


def _dropout(tensor: Tensor, arguments: Arguments) -> Need:
    """The CPU's dropout multiplies with a mask of 0 and 1 / (1 - p)."""
    p = argument(arguments, 1, "p", 0.5)
    if not isinstance(p, (int, float)) or is_argument(tensor, argument(arguments, 0, "input", None)):
        return _exact("scaled mask")
    on = 0.0 if p == 1 else float(torch.ones((), dtype=tensor.dtype).div_(1 - p))
    return Need("mask", mask=MaskTest(0.0, math.inf, 0.0, on))


def _division(tensor: Tensor, arguments: Arguments) -> Need:
    return _exact("divided by") if is_argument(tensor, argument(arguments, 1, "other", None)) else VALUE


def _power(tensor: Tensor, arguments: Arguments) -> Need:
    exponent = argument(arguments, 1, "exponent", None)
    if not isinstance(exponent, (int, float)):
        return _exact("raised to a power")
    return VALUE if exponent in (1, 2) else WIDE if exponent >= 2 else _exact("raised to a power")


def _attention(tensor: Tensor, arguments: Arguments) -> Need:
    """Backward recomputes the probabilities from query, key and the logsumexp of each row."""
    query, key = argument(arguments, 0, "query", None), argument(arguments, 1, "key", None)
    if isinstance(query, Tensor) and tensor.shape == query.shape[:-1]:
        return _exact("logsumexp")
    return WIDE if is_argument(tensor, query) or is_argument(tensor, key) else VALUE


def _norm(tensor: Tensor, arguments: Arguments) -> Need:
    source = argument(arguments, 0, "input", None)
    if isinstance(source, Tensor) and tensor.numel() < source.numel():
        return _exact("statistic")
    return VALUE


def _inplace(names: str) -> str:
    return " ".join(f"{name} {name}_" for name in names.split())


def _table() -> dict[str, Need | Chooser]:
    table: dict[str, Need | Chooser] = {}

    def enter(names: str, need: Need | Chooser) -> None:
        table.update(dict.fromkeys(_inplace(names).split(), need))

    enter("relu leaky_relu", _SIGN)
    enter("relu6", _between(0.0, 6.0))
    enter("hardtanh", _hardtanh)
    enter("clamp clip", _clamp)
    enter("clamp_min", _clamp_min)
    enter("clamp_max", _clamp_max)
    enter("threshold", _threshold)
    enter("dropout dropout1d dropout2d dropout3d feature_dropout", _dropout)
    enter("div divide true_divide", _division)
    enter("pow float_power __pow__", _power)
    enter("scaled_dot_product_attention", _attention)
    enter("layer_norm group_norm batch_norm instance_norm rms_norm native_layer_norm native_batch_norm", _norm)
    enter("log_softmax cross_entropy nll_loss cosine_similarity softmin logsumexp logaddexp", WIDE)
    enter("expm1 cosh sinh tan erfinv lgamma digamma", WIDE)
    equality = "amax amin max min maximum minimum fmax fmin aminmax median nanmedian mode cummax cummin"
    enter(equality, _exact("compared for equality"))
    enter("hardswish hardsigmoid prelu smooth_l1_loss huber_loss", WIDE)
    enter("abs absolute rrelu hardshrink softshrink l1_loss hinge_embedding_loss margin_ranking_loss", _exact("sign"))
    enter("norm vector_norm linalg_vector_norm std var std_mean var_mean", _norm)
    enter("log log2 log10 log1p sqrt rsqrt reciprocal xlogy asin acos atanh acosh", _exact("divided by"))
    enter("prod cumprod cholesky inverse inv solve det slogdet svd eigh qr lu matrix_exp", _exact("products of all"))
    return table


_NEEDS = _table()

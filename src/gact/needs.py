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
        kind: ``"value"`` (an unbiased estimate), ``"mask"`` (which side of a bound), ``"exact"``, or ``"unknown"``:
            exact until the user asks for a width.
        least_bits: Least width of a value's code.
        prior_bits: Least width while it is not known how much the gradient suffers from its rounding.
        most_bits: Greatest width, where a rule sets one.
        mask: The test of a mask.
        why: For exact and unknown ones, what the backward does with the value.
    """

    kind: str
    least_bits: int = 1
    mask: MaskTest | None = None
    why: str = ""
    most_bits: int = 8
    prior_bits: int = 1


Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
Chooser = Callable[[Tensor, Arguments], Need]

VALUE = Need("value")
WIDE = Need("value", least_bits=8)
_SIGN = Need("mask", mask=MaskTest())


def _exact(why: str) -> Need:
    return Need("exact", why=why)


def need_of(op: str, tensor: Tensor, arguments: Arguments, composite: bool) -> Need:
    """What the backward of an op needs.

    Args:
        op: Name of the op that is saving, as torch names it.
        tensor: The tensor it saves.
        arguments: Positional and keyword arguments of the op.
        composite: Whether the op is a Python function, which may save for ops of several kinds.
    """
    chosen = _NEEDS.get(op)
    if chosen is None:
        return WIDE if composite else VALUE
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
    """Clamp's bounds are inclusive (the gradient passes at the bound itself) and rounded to the dtype of the tensor."""
    low, high = argument(arguments, 1, "min", None), argument(arguments, 2, "max", None)
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if not all(isinstance(bound, (int, float)) for bound in (low, high)) or not low < high:
        return _exact("compared with tensors")
    return _between(_beyond(low, -math.inf, tensor.dtype), _beyond(high, math.inf, tensor.dtype))


def _beyond(bound: float, toward: float, dtype: torch.dtype) -> float:
    """The value of a dtype next to a bound that was rounded to it."""
    value = torch.tensor(float(bound), dtype=dtype)
    if not value.isfinite():
        return bound
    if dtype in (torch.float32, torch.float64):
        return float(torch.nextafter(value, torch.tensor(toward, dtype=dtype)))
    if value == 0:
        return math.copysign(torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps, toward)
    # Patterns of one sign are ordered like their magnitudes; half precision has no nextafter.
    away = 1 if (value > 0) == (toward > 0) else -1
    return float((value.view(torch.int16) + away).view(dtype))


def _at_most(bound: float, dtype: torch.dtype) -> float:
    """The greatest value of a dtype that is not above a bound."""
    value = torch.tensor(float(bound), dtype=dtype)
    return float(value) if float(value) <= bound else _beyond(bound, -math.inf, dtype)


def _clamp_min(tensor: Tensor, arguments: Arguments) -> Need:
    return _clamp(tensor, ((None, argument(arguments, 1, "min", None), None), {}))


def _clamp_max(tensor: Tensor, arguments: Arguments) -> Need:
    return _clamp(tensor, ((None, None, argument(arguments, 1, "max", None)), {}))


def _threshold(tensor: Tensor, arguments: Arguments) -> Need:
    bound = argument(arguments, 1, "threshold", None)
    if not isinstance(bound, (int, float)):
        return _exact("compared with tensors")
    return _between(_at_most(bound, tensor.dtype), math.inf)


def _dropout(tensor: Tensor, arguments: Arguments) -> Need:
    """The CPU's dropout multiplies with a mask of 0 and 1 / (1 - p)."""
    p = argument(arguments, 1, "p", 0.5)
    if not isinstance(p, (int, float)) or is_argument(tensor, argument(arguments, 0, "input", None)):
        return _exact("scaled mask")
    on = 0.0 if p == 1 else float(torch.ones((), dtype=tensor.dtype).div_(1 - p))
    return Need("mask", mask=MaskTest(0.0, math.inf, 0.0, on))


def _multi_head_attention(tensor: Tensor, arguments: Arguments) -> Need:
    """The logsumexp of each head and row must be exact; what the composite saves besides cannot be told apart."""
    query, heads = argument(arguments, 0, "query", None), argument(arguments, 4, "num_heads", None)
    if not isinstance(query, Tensor) or not isinstance(heads, int):
        return _exact("attention")
    rows = query.numel() // max(query.shape[-1], 1)
    return _exact("logsumexp") if tensor.numel() == rows * heads else WIDE


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
    if any(is_argument(tensor, argument(arguments, 3, name, None)) for name in ("mask", "attn_mask")):
        return _exact("mask")
    return WIDE if is_argument(tensor, query) or is_argument(tensor, key) else VALUE


def _norm(tensor: Tensor, arguments: Arguments) -> Need:
    source = argument(arguments, 0, "input", None)
    if isinstance(source, Tensor) and tensor.numel() < source.numel():
        return _exact("statistic")
    return VALUE


def _checkpoint(tensor: Tensor, arguments: Arguments) -> Need:
    """Inputs from which a block is run again; those without a gradient are masks and tables."""
    return VALUE if tensor.requires_grad or not tensor.is_floating_point() else _exact("input of a checkpoint")


_LINEAR_COMPOSITES = """
    softmax silu mish elu celu gelu tanh sigmoid glu softplus bilinear embedding embedding_bag pad interpolate upsample
    unfold fold one_hot max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
    max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d adaptive_avg_pool2d
    adaptive_avg_pool3d fractional_max_pool2d fractional_max_pool3d max_unpool1d max_unpool2d max_unpool3d lp_pool1d
    einsum tensordot stack split meshgrid alpha_dropout feature_alpha_dropout channel_shuffle mse_loss __rsub__ __rpow__
    __rmatmul__ unflatten unique
"""

_EXACT = {
    "compared for equality": """
        amax amin max min maximum minimum fmax fmin aminmax median nanmedian mode cummax cummin norm scatter_reduce
        index_reduce segment_reduce""",
    "sign": """
        abs absolute rrelu hardshrink softshrink hardswish prelu selu l1_loss smooth_l1_loss huber_loss copysign
        hinge_embedding_loss margin_ranking_loss soft_margin_loss triplet_margin_loss multi_margin_loss
        multilabel_margin_loss multilabel_soft_margin_loss triplet_margin_with_distance_loss pairwise_distance cdist
        pdist dist cosine_embedding_loss nextafter heaviside""",
    "divided by": """
        log log2 log10 log1p sqrt rsqrt reciprocal xlogy xlog1py asin acos atanh acosh arcsin arccos arctanh arccosh
        normalize cosine_similarity addcdiv fmod remainder __rmod__ __rdiv__ __rtruediv__ atan2 arctan2 hypot
        local_response_norm renorm binary_cross_entropy""",
    "steep function": """
        logsumexp logaddexp logaddexp2 logcumsumexp _safe_softmax ctc_loss lgamma digamma polygamma mvlgamma
        multigammaln erfinv log_ndtr logit erfcx entr ldexp
        poisson_nll_loss gaussian_nll_loss""",
    "coordinates": "grid_sample grid_sampler grid_sampler_2d grid_sampler_3d affine_grid",
    "products of all": """
        prod cumprod cholesky inverse inv solve det slogdet logdet svd svdvals eigh eig eigvals eigvalsh qr lu lu_factor
        lu_solve matrix_exp matrix_power pinv pinverse lstsq tensorsolve tensorinv householder_product ormqr
        triangular_solve solve_triangular cholesky_solve cholesky_inverse ldl_factor solve_ex inv_ex cholesky_ex""",
}


def _spellings(names: str) -> list[str]:
    """Every name, its in-place form, and the names under which ``torch.linalg`` and ``torch.special`` know it."""
    forms = ("{}", "{}_", "linalg_{}", "special_{}")
    return [form.format(name) for name in names.split() for form in forms]


def _table() -> dict[str, Need | Chooser]:
    table: dict[str, Need | Chooser] = {}

    def enter(names: str, need: Need | Chooser) -> None:
        table.update(dict.fromkeys(_spellings(names), need))

    enter("relu leaky_relu", _SIGN)
    enter("relu6", _between(0.0, 6.0))
    enter("hardsigmoid", _between(-3.0, 3.0))
    enter("hardtanh", _hardtanh)
    enter("clamp clip", _clamp)
    enter("clamp_min", _clamp_min)
    enter("clamp_max", _clamp_max)
    enter("threshold _threshold", _threshold)
    enter("checkpoint", _checkpoint)
    enter("compiled", Need("unknown", why="compiled"))
    enter("dropout dropout1d dropout2d dropout3d feature_dropout", _dropout)
    enter("div divide true_divide", _division)
    enter("pow float_power __pow__", _power)
    enter("scaled_dot_product_attention attention", _attention)
    enter("multi_head_attention_forward", _multi_head_attention)
    enter("layer_norm group_norm batch_norm instance_norm rms_norm native_layer_norm native_batch_norm", _norm)
    enter("vector_norm linalg_vector_norm std var std_mean var_mean", _norm)
    enter(_LINEAR_COMPOSITES, VALUE)
    enter("log_softmax cross_entropy nll_loss softmin logsigmoid kl_div", WIDE)
    enter("expm1 cosh sinh tan sinc atan arctan", WIDE)
    for why, names in _EXACT.items():
        enter(names, _exact(why))
    return table


_NEEDS = _table()

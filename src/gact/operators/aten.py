"""The second key of the table of needs: aten operators, as they stand in the graphs of compiled code.

A backward graph combines what was saved with the gradient that comes in. ``need_of_argument`` says what such an
operator reads of an argument that does not depend on that gradient; what is not named is read exactly. Operators that
are a node of autograd by themselves take the need of that node's slot from ``table``, so that it is stated once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..autograd.internals import OpOverload
from .forms import BENT
from .need import VALUE, WIDE, Chooser, Need, exact
from .reductions import PRODUCTS_OF_ALL
from .table import NEEDS

SCORE = Need("value", min_bits=8, form="scores")
"""Queries and keys: 8 bits, and exact where some score may be large."""
SCORED = Need("value", form="scores")
"""Values and results of attention: exact where some score may be large."""

# Operator and argument, or the node of autograd and its slot where it has one.
_PRODUCTS = """
    add self other
    addcmul self tensor1 tensor2
    addmm self mat1 mat2
    baddbmm self batch1 batch2
    bmm self mat2
    convolution_backward input weight
    div self
    dot self tensor
    fma a b c
    linear_backward self weight
    masked_fill self
    mm self mat2
    mul self other
    mv self vec
    native_dropout_backward mask
    sub self other
    rsub self other
    where self other
    _softmax_backward_data output
"""

_VALUES = """
    _scaled_dot_product_flash_attention_for_cpu_backward value out
    _scaled_dot_product_flash_attention_backward value out
    _scaled_dot_product_efficient_attention_backward value out
    _scaled_dot_product_cudnn_attention_backward value out
"""

_SCORES = """
    _scaled_dot_product_flash_attention_for_cpu_backward query key
    _scaled_dot_product_flash_attention_backward query key
    _scaled_dot_product_efficient_attention_backward query key
    _scaled_dot_product_cudnn_attention_backward query key
"""

_NODES = """
    tanh_backward output TanhBackward0 result
    sigmoid_backward output SigmoidBackward0 result
    gelu_backward self GeluBackward0 self
    silu_backward self SiluBackward0 self
    mish_backward self MishBackward0 self
    glu_backward self GluBackward0 self
"""

_SHAPES = """
    adaptive_max_pool2d_backward self
    max_pool2d_with_indices_backward self
    max_pool3d_with_indices_backward self
    _adaptive_avg_pool2d_backward self
    _adaptive_avg_pool3d_backward self
    avg_pool2d_backward self
    avg_pool3d_backward self
"""
_SHAPE = Need("shape")
_UNLISTED = exact("no entry in the table of aten operators")


def _entries(text: str, need: Need) -> dict[tuple[str, str], Need]:
    lines = (line.split() for line in text.strip().splitlines())
    return {(name, argument): need for name, *arguments in lines for argument in arguments}


def _plain(need: Need | Chooser) -> Need:
    """A need without a form, in which compiled code holds nothing."""
    if not isinstance(need, Need) or (need.form and need.form not in BENT):
        return WIDE
    return replace(need, form="")


def _of_nodes(text: str) -> dict[tuple[str, str], Need]:
    """Needs of operators by the slots of their nodes; those that depend on the node are taken for wide."""
    found = {}
    for operator, argument, node, slot in (line.split() for line in text.strip().splitlines()):
        need = NEEDS[node][slot]
        found[operator, argument] = _plain(need)
    return found


NEEDS_OF_ARGUMENTS: Mapping[tuple[str, str], Need] = {
    **_entries(_PRODUCTS, VALUE),
    **_entries(_SCORES, SCORE),
    **_entries(_VALUES, SCORED),
    **_entries(_SHAPES, _SHAPE),
    **_of_nodes(_NODES),
}


def need_of_argument(target: Any, argument: str) -> Need:
    """What an operator reads of an argument.

    Args:
        target: The operator of a graph's node.
        argument: The argument's name in the operator's schema.
    """
    if not isinstance(target, OpOverload) or target.namespace not in ("aten", "prims"):
        return _UNLISTED
    return NEEDS_OF_ARGUMENTS.get((name_of(target), argument), _UNLISTED)


_NODES_OF_ALL = frozenset(
    node.rstrip("0123456789").removesuffix("Backward")
    for node, slots in NEEDS.items()
    if PRODUCTS_OF_ALL in slots.values()
)


def is_product_of_all(name: str) -> bool:
    """Whether backward of an operator multiplies and subtracts what was saved: the table of nodes has it as exact.

    Args:
        name: Name of the operator.
    """
    return "".join(part.capitalize() for part in name.split("_")) in _NODES_OF_ALL


# What gives the same elements in another arrangement, or some of them.
_VIEWS_TEXT = """
    alias clone convert_element_type detach expand permute reshape select slice squeeze t transpose unsqueeze
    view _to_copy _unsafe_view
"""
VIEWS = frozenset(_VIEWS_TEXT.split())
_RESHAPES_TEXT = """
    alias reshape squeeze unsqueeze view _unsafe_view
"""
RESHAPES = frozenset(_RESHAPES_TEXT.split())
"""Those of them that leave the order of elements as it is."""
# Linear in one factor where the others are exact.
FACTORS = frozenset({"mul", "div"})
TERMS = frozenset({"add", "sub", "rsub"})


EXPONENTIALS = frozenset({"exp", "exp2", "expm1", "sinh", "cosh"})
"""What they give may be of many magnitudes: it is looked at when it is packed."""
STEEP = frozenset({"reciprocal", "rsqrt", "tan", "prod", "cumprod", "special_gamma", "lgamma", "digamma"})
"""Near a pole one number is so large that all others would drown in its step."""
MAGNITUDES = "magnitudes"
ROWS = "rows"
"""Forms of values that are exact if their numbers, or their rows, are of many magnitudes."""


def name_of(target: Any) -> str:
    """Name of an operator without namespace and overload; "" for anything else."""
    return target._schema.name.partition("::")[2] if isinstance(target, OpOverload) else ""


_DECOMPOSED_TEXT = """
    gelu_backward glu_backward hardsigmoid_backward hardswish_backward hardtanh_backward
    leaky_relu_backward mish_backward native_batch_norm_backward native_group_norm_backward
    native_layer_norm_backward nll_loss_backward nll_loss2d_backward sigmoid_backward silu_backward
    softplus_backward tanh_backward threshold_backward _log_softmax_backward_data
"""
DECOMPOSED = frozenset(_DECOMPOSED_TEXT.split())
"""Operators of backward that are written out in simpler ones, so that what they compute of saved values alone shows."""

"""What is held exactly since rows of it are divided by what is left of them.

``operators/dividing.py`` tells why. Outside of compiled code it is looked at what is left. A graph tells where that may
be little: where a mask or a selection took the greatest away after a function that multiplies the gradient by its own
result, or where rows are of few elements, which share the step of a code with larger ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import fx

from ..operators.aten import VIEWS, name_of
from ..operators.need import FEW
from .joint import Joint
from .norms import NORMS
from .values import is_float, is_reciprocal, numel, tensor_of

_MOST = 64
"""Nodes behind one that divides that are looked at."""
_SUMS = frozenset({"bmm", "linalg_vector_norm", "mean", "mm", "mv", "norm", "sum", "var", "var_mean"})
_FEWER = 4
"""So many times fewer elements has what is summed over rows, at least."""
_SIZES_TEXT = """
    add alias clamp clamp_max clamp_min convert_element_type detach div expand getitem maximum mul pow reciprocal rsqrt
    sqrt
"""
_SIZES = VIEWS | frozenset(_SIZES_TEXT.split())
"""Operators between a sum and what it divides."""
_SELECTING_TEXT = """
    gather getitem index index_put index_select masked_fill masked_scatter scatter where
"""
_SELECTING = frozenset(_SELECTING_TEXT.split())
_SPLITS = frozenset({"split", "split_with_sizes", "unbind", "var_mean"})
_LINES = VIEWS | _SELECTING | frozenset({"abs", "add", "clamp", "clone", "mul", "neg", "pow", "sort", "sub", "topk"})
_CURVES_TEXT = """
    _safe_softmax _softmax div elu erf exp exp2 expm1 gelu mish sigmoid silu softplus tanh
"""
_CURVES = frozenset(_CURVES_TEXT.split())


def name(node: fx.Node) -> str:
    """Name of a node's operator."""
    return (name_of(node.target) or getattr(node.target, "__name__", "")) if node.op == "call_function" else ""


def read_exactly(joint: Joint) -> Iterator[fx.Node]:
    """The values by which backward multiplies what a division by little has made large.

    Args:
        joint: The forward graph and what backward reads.
    """
    added = set(joint.added)
    for node in joint.forward.nodes:
        if node in added:
            continue
        divisor = _divisor(node)
        for row, size in _rows(divisor) if divisor is not None else _normalised(node):
            found = list(_behind(joint, row, numel(row) < FEW * size))
            if found:
                yield from (node, row, *node.all_input_nodes, *found)


def _divisor(node: fx.Node) -> fx.Node | None:
    at = {"div": 1, "reciprocal": 0, "rsqrt": 0, "pow": 0}.get(name(node))
    if at is None or (name(node) == "pow" and not (isinstance(node.args[1], (int, float)) and node.args[1] < 0)):
        return None
    divisor = node.args[at]
    return divisor if isinstance(divisor, fx.Node) and is_float(divisor) else None


def _normalised(node: fx.Node) -> Iterator[tuple[fx.Node, int]]:
    row = node.args[0] if name(node) in NORMS and name(node) != "var_mean" else None
    if isinstance(row, fx.Node):
        yield row, max((numel(each) for each in node.users if each.args[1] == 2), default=numel(row))


def _rows(divisor: fx.Node) -> Iterator[tuple[fx.Node, int]]:
    """What is summed in what divides, and how many sums there are."""
    coming, seen = [divisor], set[fx.Node]()
    while coming and len(seen) < _MOST:
        node = coming.pop()
        if node in seen:
            continue
        seen.add(node)
        row = node.args[0] if name(node) in _SUMS else None
        if isinstance(row, fx.Node) and numel(row):
            size = max((numel(each) for each in node.users), default=1) if name(node) == "var_mean" else numel(node)
            if _FEWER * size <= numel(row) and size > 1:
                yield row, size
        elif name(node) in _SIZES:
            coming.extend(each for each in node.all_input_nodes if is_float(each) or name(each) == "var_mean")


def _behind(joint: Joint, row: fx.Node, selected: bool) -> Iterator[fx.Node]:
    """What multiplies the gradient behind a row, after a selection."""
    coming, seen = [(row, selected)], set[tuple[fx.Node, bool]]()
    while coming and len(seen) < _MOST:
        node, selected = coming.pop()
        if (node, selected) in seen:
            continue
        seen.add((node, selected))
        called, inputs = name(node), node.all_input_nodes
        if called in _CURVES:
            if selected:
                yield from (node, *inputs)
            if called != "div" or not selected:
                continue
        if (called not in _LINES and called != "div") or any(map(is_reciprocal, inputs)):
            continue
        selected = selected or _selects(joint, node)
        if selected and (called == "pow" or (called == "mul" and not _is_scaled(joint, node))):
            yield from inputs
        coming.extend((each, selected) for each in inputs if is_float(each) or called == "getitem")


def _selects(joint: Joint, node: fx.Node) -> bool:
    """Whether a node may take the greatest of rows away."""
    if name(node) == "mul":
        return any(isinstance(each, fx.Node) and _is_given(joint, each) for each in node.args)
    source = node.args[0] if name(node) == "getitem" else None
    return name(node) in _SELECTING and not (isinstance(source, fx.Node) and name(source) in _SPLITS)


def _is_scaled(joint: Joint, node: fx.Node) -> bool:
    """Whether one factor is a number, a parameter or a mask."""
    return any(not isinstance(each, fx.Node) or joint.is_free(each) or _is_given(joint, each) for each in node.args)


def _is_given(joint: Joint, node: fx.Node, depth: int = 8) -> bool:
    """Whether a factor was not computed of what has a gradient: masks, and what comes with the batch."""
    tensor = tensor_of(node)
    if joint.is_static(node):
        return False
    if node.op == "placeholder" or tensor is None or not is_float(node):
        return tensor is None or tensor.dtype is torch.bool or not is_float(node) or numel(node) > FEW
    if not depth or name(node) not in VIEWS | {"convert_element_type", "full", "where", "sub", "rsub", "tril", "triu"}:
        return False
    return all(_is_given(joint, each, depth - 1) for each in node.all_input_nodes)

"""What is held exactly since rows of it are divided by what is left of them.

``operators/dividing.py`` tells why. Outside of compiled code it is looked at what is left. A graph tells where that may
be little: where a mask or a selection took the greatest away after a function that multiplies the gradient by its own
result, or where rows are of few elements, which share the step of a code with larger ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import fx

from ..autograd.internals import OpOverload
from ..operators.aten import VIEWS, name_of
from ..operators.need import FEW
from .bends import SHAPED
from .joint import Joint
from .norms import NORMS
from .values import hint, is_float, is_reciprocal, numel, tensor_of

_MOST = 64
"""Nodes behind one that divides that are looked at."""
_SUMS = frozenset({"bmm", "linalg_vector_norm", "mean", "mm", "mv", "norm", "sum", "var", "var_mean"})
_FEWER = 2
"""So many times fewer elements has what is summed over rows, at least."""
_SIZES_TEXT = """
    add alias clamp clamp_max clamp_min convert_element_type detach div expand getitem maximum mul pow reciprocal rsqrt
    sqrt
"""
_SIZES = VIEWS | frozenset(_SIZES_TEXT.split())
"""Operators between a sum and what it divides."""
_SELECTING_TEXT = """
    gather getitem index index_put index_select masked_fill masked_scatter native_dropout scatter tril triu where
"""
_SELECTING = frozenset(_SELECTING_TEXT.split())
_SPLITS = frozenset({"split", "split_with_sizes", "unbind"})
_PARTS = _SPLITS | {"select", "slice"}
_MATRICES = {"addmm": (1, 2), "baddbmm": (1, 2), "bmm": (0, 1), "mm": (0, 1)}
"""Products of matrices, and where they have their factors."""
_PART, _SELECTED = 1, 2
_DROPPING = frozenset({"native_dropout", "rrelu_with_noise"})
_GIVEN = VIEWS | {"add", "convert_element_type", "div", "full", "mul", "rsub", "sub", "tril", "triu", "where"}
_ELEMENTS = frozenset({"abs", "add", "clamp", "clone", "mul", "neg", "pow", "sort", "sub", "topk"})
_LINES = VIEWS | _SPLITS | _SELECTING | _ELEMENTS
_SOFTMAX = frozenset({"_safe_softmax", "_softmax"})
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
            found = list(_behind(joint, row, _SELECTED * (numel(row) < FEW * size)))
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


def _behind(joint: Joint, row: fx.Node, selected: int) -> Iterator[fx.Node]:
    """What multiplies the gradient behind a row, after a selection."""
    coming, seen = [(row, selected)], set[tuple[fx.Node, int]]()
    while coming and len(seen) < _MOST:
        node, selected = coming.pop()
        if (node, selected) in seen:
            continue
        seen.add((node, selected))
        called, inputs = name(node), node.all_input_nodes
        if called in _CURVES:
            if selected == _SELECTED or (selected and _is_softmax(node)):
                yield from (node, *inputs)
            if called != "div" or selected != _SELECTED:
                continue
        if (called not in _LINES and called != "div") or any(map(is_reciprocal, inputs)):
            continue
        selected = max(selected, _selects(joint, node))
        if selected == _SELECTED and (called == "pow" or (called == "mul" and not _is_scaled(joint, node))):
            yield from inputs
        coming.extend((each, selected) for each in inputs if is_float(each) or called == "getitem")


def _is_softmax(node: fx.Node) -> bool:
    """Whether a node is a softmax, fused or written out: the rest of a row may be all of it."""
    return name(node) in _SOFTMAX or (name(node) == "div" and name_of(node.all_input_nodes[0].target) == "exp")


def _selects(joint: Joint, node: fx.Node) -> int:
    """Whether a node may take the greatest of rows away, or gives the same part of all rows."""
    if name(node) == "mul":
        return _SELECTED * any(isinstance(each, fx.Node) and _is_given(joint, each) for each in node.args)
    source = node.args[0] if name(node) == "getitem" else None
    called = name(source) if isinstance(source, fx.Node) else ""
    if name(node) in _PARTS or called in _SPLITS:
        return _PART
    return _SELECTED * (name(node) in _SELECTING and called != "var_mean")


def narrow_rows(joint: Joint) -> Iterator[fx.Node]:
    """What products of matrices are made of before rows are divided by their size, where it has few columns.

    Its rows share groups, and each row counts as much as any other, however quiet: a quiet row stays one from layer to
    layer. Wider rows have scales of their own.

    Args:
        joint: The forward graph and what backward reads.
    """
    added, seen = set(joint.added), set[fx.Node]()
    for node in joint.forward.nodes:
        divisor = _divisor(node) if node not in added else None
        rows = _rows(divisor) if divisor is not None else _normalised(node) if node not in added else ()
        coming, last = [row for row, _ in rows], len(seen) + _MOST
        while coming and len(seen) < last:
            at = coming.pop()
            if at in seen or joint.is_static(at):
                continue
            seen.add(at)
            inputs = at.all_input_nodes
            if (places := _MATRICES.get(name(at))) is not None:
                factors = [each for each in (at.args[place] for place in places) if isinstance(each, fx.Node)]
                yield from filter(_is_narrow, factors)
                coming.extend(factors)
            elif name(at) in _LINES and not any(map(is_reciprocal, inputs)):
                coming.extend(each for each in inputs if is_float(each) or name(at) == "getitem")


def _is_narrow(node: fx.Node) -> bool:
    """Whether rows of a value, as they lie in memory, have few elements."""
    while name(node) in VIEWS and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    tensor = tensor_of(node)
    return tensor is not None and tensor.dim() > 0 and hint(tensor.shape[-1]) < FEW


def _is_scaled(joint: Joint, node: fx.Node) -> bool:
    """Whether one factor is a number, a parameter or a mask."""
    return any(not isinstance(each, fx.Node) or joint.is_free(each) or _is_given(joint, each) for each in node.args)


def _is_given(joint: Joint, node: fx.Node, depth: int = 8) -> bool:
    """Whether a factor was not computed of what has a gradient: masks, random numbers, what comes with the batch."""
    tensor = tensor_of(node)
    if joint.is_static(node):
        return False
    if node.op == "placeholder" or tensor is None or not is_float(node):
        return tensor is None or tensor.dtype is torch.bool or not is_float(node) or numel(node) > FEW
    if isinstance(node.target, OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags:
        return name(node) not in _DROPPING
    if name(node) in SHAPED:
        return True
    if not depth or name(node) not in _GIVEN:
        return False
    return all(_is_given(joint, each, depth - 1) for each in node.all_input_nodes)

"""What is held exactly because a steep function of the same graph reads it further on.

``operators/steep.py`` tells why. In a graph all of that is known: what a logarithm, a division or a root is computed
from by selecting and linear ops, and what of that multiplies the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import fx

from ..operators.aten import ROWS, VIEWS, name_of
from ..operators.need import Need, exact
from .decays import undone
from .divided import narrow_rows, read_exactly
from .joint import Joint
from .plan import both
from .sums import normalised
from .values import can_be_coded, exceeds_one, is_float, reached

_NEED = exact("a steep function reads it")
_NORMALISED = exact("normalised by a sum")
_MOST = 256
"""Nodes behind one steep function that are looked at."""

_MATRIX_FUNCTIONS_TEXT = """
    _linalg_det _linalg_eigh _linalg_slogdet _linalg_solve_ex _linalg_svd cholesky cholesky_inverse cholesky_solve
    linalg_cholesky_ex linalg_eig linalg_inv_ex linalg_lstsq linalg_lu_factor_ex linalg_lu_solve linalg_pinv
    linalg_solve_triangular triangular_solve
"""
_LOGARITHMS_TEXT = """
    binary_cross_entropy digamma lgamma log log10 log1p log2 logit special_entr special_xlog1py xlogy
"""
_POLES_TEXT = """
    acos asin atan2 atanh div erfinv pow reciprocal rsqrt special_ndtri sqrt
"""
_OWN_TEXT = """
    _safe_softmax _softmax elu exp exp2 expm1 sigmoid softplus tanh
"""
_SUMS_TEXT = """
    cumprod cumsum index_add mean prod reciprocal rsqrt scatter_add sqrt sum
"""
_THROUGH_TEXT = """
    abs add amax amin cat clamp clamp_max clamp_min constant_pad_nd copy diagonal flip gather getitem index index_put
    index_select masked_fill masked_scatter max maximum min minimum nan_to_num native_dropout neg relu repeat roll rsub
    scatter select_scatter slice_scatter sort split split_with_sizes stack sub topk tril triu unbind where
"""
_LOGARITHMS, _POLES, _OWN, _SUMS = (
    frozenset(text.split()) for text in (_LOGARITHMS_TEXT, _POLES_TEXT, _OWN_TEXT, _SUMS_TEXT)
)
_MATRIX_FUNCTIONS = frozenset(_MATRIX_FUNCTIONS_TEXT.split())
_SUMMING = _LOGARITHMS | _MATRIX_FUNCTIONS
_THROUGH = VIEWS | frozenset(_THROUGH_TEXT.split())
_SECOND = frozenset({"cholesky_solve", "div", "special_xlog1py", "triangular_solve", "xlogy"})
"""Functions that are steep in their second argument."""
_BOUNDED = frozenset({"exp", "exp2", "sigmoid"})
_MATRICES = frozenset({"bmm", "dot", "mm", "mv"})
_PRODUCTS = _MATRICES | {"addcmul", "div", "lerp", "mul", "pow"}


def needs_of(joint: Joint) -> dict[fx.Node, Need]:
    """What backward needs of each value that it reads.

    Args:
        joint: The forward graph and what backward reads.
    """
    needs: dict[fx.Node, Need] = {}
    for reading in joint.readings:
        if reading.need.kind != "shape" or not can_be_coded(reading.node):
            needs[reading.node] = both(needs.get(reading.node), reading)
    added = set(joint.added)
    steep = [(node, argument) for node in joint.forward.nodes if node not in added for argument in _steep_in(node)]
    multiplying = {_bare(each) for node, argument in steep for each in _read_behind(node, argument)}
    multiplying.update(_bare(each) for each in (*read_exactly(joint), *undone(joint)) if is_float(each))
    narrow = {_bare(each) for each in narrow_rows(joint)}
    sums = {_bare(each) for each in normalised(joint.results)}
    if multiplying or narrow or sums:
        # What else stands in the forward graph is computed for backward.
        results = (node for node in joint.results if isinstance(node, fx.Node))
        forward = reached(results, lambda node: node.all_input_nodes)
        for node, need in needs.items():
            if need.kind != "value" or not is_float(node):
                continue
            if _is_read(node, multiplying, forward):
                needs[node] = _NEED
            elif _is_read(node, sums, forward):
                needs[node] = _NORMALISED
            elif not need.form and _is_read(node, narrow, forward):
                needs[node] = replace(need, form=ROWS)
    return needs


def _name(node: fx.Node) -> str:
    if node.op != "call_function":
        return ""
    return name_of(node.target) or getattr(node.target, "__name__", "")


def _steep_in(node: fx.Node) -> Iterator[fx.Node]:
    """The argument that a node is steep in, if there is one."""
    name = _name(node)
    if name not in _SUMMING | _POLES:
        return
    if name == "pow" and not (isinstance(node.args[1], (int, float)) and node.args[1] < 1 and node.args[1] != 0):
        return
    for argument in node.args[:2] if name == "atan2" else node.args[1:2] if name in _SECOND else node.args[:1]:
        if isinstance(argument, fx.Node) and is_float(argument) and not _is_away(name, argument):
            yield argument


def _is_away(name: str, argument: fx.Node) -> bool:
    """Whether 1 more than an exponential is meant."""
    return _name(argument) == "exp" if name == "log1p" else exceeds_one(argument)


def _read_behind(node: fx.Node, argument: fx.Node) -> Iterator[fx.Node]:
    """The values by which backward multiplies the gradient of a steep node."""
    sums = _name(node) in _SUMMING
    if _name(node) in _MATRIX_FUNCTIONS:
        # Backward multiplies with its results, and those of one that gives several are taken from it.
        yield from (node, *(each for each in node.users if _name(each) == "getitem"), *node.all_input_nodes)
    found = list(_behind(argument, sums))
    yield from found
    if found and _name(node) == "div" and isinstance(node.args[0], fx.Node):
        # What is divided is as small as what divides it, where the ratio of the two is ordinary.
        yield from (node, node.args[0])
        yield from _behind(node.args[0], sums)


def _behind(node: fx.Node, sums: bool) -> Iterator[fx.Node]:
    coming, seen = [(node, sums)], set[fx.Node]()
    while coming and len(seen) < _MOST:
        node, sums = coming.pop()
        if node in seen:
            continue
        seen.add(node)
        name, inputs = _name(node), node.all_input_nodes
        if name in _OWN:
            yield node
            yield from inputs
            if not sums or name not in _BOUNDED:
                continue
            sums = False
        elif name in _PRODUCTS:
            if name in _MATRICES and not sums:
                continue
            yield from inputs
            if name == "div":
                yield node  # what divides is multiplied with the quotient
        elif name not in _THROUGH and not (sums and name in _SUMS):
            continue
        coming.extend((each, sums) for each in (inputs if sums or name != "div" else inputs[:1]))


def _bare(node: fx.Node) -> fx.Node:
    """What a node shows in another arrangement."""
    while _name(node) in VIEWS and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _is_read(node: fx.Node, multiplying: set[fx.Node], forward: set[fx.Node]) -> bool:
    """Whether a value that backward reads is one of such values, or computed of them for backward."""
    coming, seen = [node], set[fx.Node]()
    while coming:
        node = _bare(coming.pop())
        if node in multiplying:
            return True
        if node not in seen and node not in forward:
            coming.extend(node.all_input_nodes)
        seen.add(node)
    return False

"""What adds to one along a dimension, and exponentials that a sum of exponentials normalises.

NOTE: What cancels
What is divided by its own sum (a softmax, plain or written out, and weights of any kind) adds to one, and its backward
takes the mean of the gradient, weighed by it, from the gradient. What all gradients have in common cancels only if what
is decoded adds to one as well: ``codecs/sums.py`` has it so. An exponential whose argument was normalised by a
logarithm of a sum is exact, as is all that this logarithm makes of its argument: ``operators/exponentials.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import fx

from ..operators.aten import RESHAPES, VIEWS, name_of
from .values import is_float, reached, tensor_of

_SOFTMAX, _SAFE = "_softmax", "_safe_softmax"
_ITSELF = frozenset({"_to_copy", "alias", "clone", "convert_element_type", "detach"})
_KEPT = RESHAPES | _ITSELF
"""What leaves elements, and their order, as they are."""
_CONSTANTS = frozenset({"full", "full_like", "scalar_tensor", "zeros", "zeros_like"})
_NUDGED = frozenset({"add", "clamp", "clamp_min", "maximum"})
"""What keeps a sum from zero."""
_RECIPROCAL = VIEWS | _NUDGED | {"mul", "pow", "reciprocal"}
_EXPONENTIALS = frozenset({"exp", "exp2"})
_LOGARITHMS = frozenset({"_log_softmax", "logaddexp", "logcumsumexp", "logsumexp"})
_WRITTEN_OUT = "log"
_LINEAR = VIEWS - {"select"} | {"add", "div", "masked_fill", "mul", "neg", "rsub", "sub", "where"}
"""What takes no one number of a row."""
_BEFORE_IT = _LINEAR | {"clamp", "clamp_min", "sum"}
_MOST = 32
"""Nodes behind an exponential that are looked at."""


class Row(NamedTuple):
    """What adds to one.

    Attributes:
        dim: Along which dimension, counted from the first.
        is_sure: Whether all do; else it is looked at when the code runs.
    """

    dim: int
    is_sure: bool


def row_of(node: fx.Node) -> Row | None:
    """Along which dimension a value adds to one; None if it does not, or nobody knows.

    Args:
        node: A node of the forward graph.
    """
    name = name_of(node.target)
    if name in VIEWS and isinstance(node.args[0], fx.Node):
        row = row_of(node.args[0])
        dim = None if row is None else _moved(node, node.args[0], row.dim)
        return None if row is None or dim is None else Row(dim, row.is_sure)
    if name == "where":
        values = [each for each in node.args[1:] if name_of(getattr(each, "target", None)) not in _CONSTANTS]
        value: Any = values[0] if len(values) == 1 else None
        row = row_of(value) if isinstance(value, fx.Node) and _shape(value) == _shape(node) else None
        return None if row is None else Row(row.dim, is_sure=False)
    if name in (_SOFTMAX, _SAFE):
        along: Any = node.args[1]
        return Row(along % len(_shape(node)), name == _SOFTMAX) if _shape(node) else None
    return _quotient(node) if name == "div" else None


def weighs(node: fx.Node) -> bool:
    """Whether a value adds to one, or is the quotient of such a value and its sum.

    Args:
        node: A node of the forward graph.
    """
    divided = node.args[0] if name_of(node.target) == "div" else None
    return row_of(node) is not None or (isinstance(divided, fx.Node) and row_of(divided) is not None)


def normalised(results: Iterable[object]) -> Iterator[fx.Node]:
    """What a sum normalises and backward reads otherwise than as that which adds to one.

    Exponentials that a sum of exponentials normalises and what that is made of, and what is multiplied with the
    reciprocal of its own sum.

    Args:
        results: What forward returns.
    """
    nodes = (node for node in results if isinstance(node, fx.Node))
    for node in reached(nodes, lambda each: each.all_input_nodes):
        name = name_of(node.target)
        if name in _EXPONENTIALS and (found := list(_logarithms(node))):
            yield from (node, *found)
        elif name == "mul":
            first, second = node.args[:2]
            pairs = ((first, second), (second, first))
            yield from (one for one, other in pairs if isinstance(one, fx.Node) and _is_of_its_sum(other, one))


def _is_of_its_sum(factor: object, other: fx.Node) -> bool:
    """Whether a factor is the reciprocal of a sum of the other, or that times a number."""
    at: Any = factor
    divides = False
    while isinstance(at, fx.Node) and name_of(at.target) in _RECIPROCAL:
        divides = divides or name_of(at.target) in ("pow", "reciprocal")
        at = at.args[0]
    is_sum = divides and isinstance(at, fx.Node) and name_of(at.target) == "sum"
    return is_sum and _bare(at.args[0]) is _bare(other)


def _logarithms(node: fx.Node) -> Iterator[fx.Node]:
    """Logarithms of sums of exponentials in the argument of an exponential, and those exponentials."""
    for earlier in _behind(node, _LINEAR):
        name = name_of(earlier.target)
        if name in _LOGARITHMS:
            yield earlier
        elif name == _WRITTEN_OUT:
            yield from (each for each in _behind(earlier, _BEFORE_IT) if name_of(each.target) in _EXPONENTIALS)


def _behind(node: fx.Node, through: frozenset[str]) -> list[fx.Node]:
    """The first nodes behind one that are not among those that are looked through."""
    coming, found, seen = [node], list[fx.Node](), set[fx.Node]()
    while coming and len(seen) < _MOST:
        for earlier in coming.pop().all_input_nodes:
            if earlier in seen or not is_float(earlier):
                continue
            seen.add(earlier)
            (coming if name_of(earlier.target) in through else found).append(earlier)
    return found


def _quotient(node: fx.Node) -> Row | None:
    """The same of what is divided by its own sum."""
    divided: Any = node.args[0]
    divisor: Any = node.args[1]
    if "rounding_mode" in node.kwargs or not isinstance(divided, fx.Node) or not isinstance(divisor, fx.Node):
        return None
    whole = _shape(divided)
    if name_of(divisor.target) == "expand" and _shape(divisor) == whole:
        divisor = divisor.args[0]
    total: Any = divisor
    is_sure = True
    while name_of(total.target) in _KEPT | _NUDGED and isinstance(total.args[0], fx.Node):
        is_sure = is_sure and name_of(total.target) in _KEPT
        total = total.args[0]
    dims: Any = total.args[1] if name_of(total.target) == "sum" and len(total.args) > 1 else ()
    if len(dims or ()) != 1 or not whole or _bare(total.args[0]) is not _bare(divided):
        return None
    dim = dims[0] % len(whole)
    kept = (*whole[:dim], "1", *whole[dim + 1 :])
    return Row(dim, is_sure) if _shape(node) == whole and _shape(divisor) == kept else None


def _bare(node: Any) -> Any:
    while isinstance(node, fx.Node) and name_of(node.target) in _ITSELF:
        node = node.args[0]
    return node


def _shape(node: Any) -> tuple[str, ...]:
    tensor = tensor_of(node) if isinstance(node, fx.Node) else None
    return () if tensor is None else tuple(str(each) for each in tensor.shape)


def _moved(node: fx.Node, before: fx.Node, dim: int) -> int | None:
    """Where a dimension of what a node arranges anew has gone; None if it is no longer one."""
    name, rank = name_of(node.target), len(_shape(node))
    given: Any = node.args[1:]
    if name == "permute":
        order: list[int] = [each % rank for each in given[0]]
        return order.index(dim)
    if name == "transpose" or (name == "t" and rank == 2):
        one, other = (int(each) % rank for each in given or (0, 1))
        return other if dim == one else one if dim == other else dim
    was, now = tensor_of(before), tensor_of(node)
    if was is None or now is None:
        return None
    wanted = str(was.shape[dim]), _inside(was.shape, dim)
    found = [place for place in range(rank) if (str(now.shape[place]), _inside(now.shape, place)) == wanted]
    return found[0] if len(found) == 1 else None


def _inside(shape: torch.Size, dim: int) -> Any:
    """What tells how many elements lie between two neighbours along a dimension."""
    inner = shape[dim + 1 :]
    if all(isinstance(each, int) for each in inner):
        return math.prod(inner)
    return tuple(str(each) for each in inner if not (isinstance(each, int) and each == 1))

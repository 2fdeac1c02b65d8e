"""Norms in a graph: their statistics, and values of which they take one of few elements each.

NOTE: Few elements
In the gradient of a norm the part along the mean and along the value itself is taken away, by what was saved. Where a
statistic is of few elements, that is almost all of it, and where it is small as well, what is left is multiplied by a
large number. So statistics are exact, and what few elements are of is exact too, unless it is held normalised.
"""

from __future__ import annotations

import operator

from torch import fx

from ..operators.aten import RESHAPES, name_of
from ..operators.need import FEW
from .values import is_reciprocal, numel

_FUSED_TEXT = """
    _batch_norm_with_update _native_batch_norm_legit _native_batch_norm_legit_functional native_batch_norm
    native_group_norm native_layer_norm
"""
_FUSED = frozenset(_FUSED_TEXT.split())
"""Operators whose second and third results are statistics."""
NORMS = _FUSED | {"var_mean"}
_SAME = RESHAPES | {"convert_element_type", "detach"}
_OF_STATISTICS = _SAME | {"add", "div", "expand", "mul", "neg", "pow", "rsqrt"}
_FAR = 12
"""Steps from a statistic to what is made of it."""


def is_statistic(node: fx.Node, depth: int = _FAR) -> bool:
    """Whether a node is a mean or a deviation that a norm has taken, or made of such and of nothing else.

    Args:
        node: The node.
        depth: Steps that are looked back.
    """
    if node.target is operator.getitem:
        source, place = node.args[0], node.args[1]
        name = name_of(source.target) if isinstance(source, fx.Node) else ""
        return name == "var_mean" or (name in _FUSED and isinstance(place, int) and place > 0)
    inputs = node.all_input_nodes
    if not depth or not inputs or name_of(node.target) not in _OF_STATISTICS:
        return False
    return all(is_statistic(each, depth - 1) for each in inputs)


def is_of_few(node: fx.Node) -> bool:
    """Whether a norm takes statistics of few elements of a value, which is not at hand as it was normalised.

    Args:
        node: The value, or its distance from the mean.
    """
    node = _bare(node)
    if name_of(node.target) == "sub" and isinstance(node.args[1], fx.Node) and is_statistic(node.args[1]):
        if any(name_of(user.target) == "mul" and any(map(is_reciprocal, user.all_input_nodes)) for user in node.users):
            return False
        node = _bare(node.args[0])  # type: ignore[arg-type]
    coming = [node]
    while coming:
        for user in coming.pop().users:
            name = name_of(user.target)
            if name in _SAME:
                coming.append(user)
            elif name in NORMS and _bare(user.args[0]) is node:  # type: ignore[arg-type]
                statistics = [each for each in user.users if is_statistic(each)]
                if any(numel(node) < FEW * numel(each) for each in statistics):
                    return True
    return False


def _bare(node: fx.Node) -> fx.Node:
    while name_of(node.target) in _SAME and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node

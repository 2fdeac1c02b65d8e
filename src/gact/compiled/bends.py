"""Which nodes of backward give something of which a function that bends is taken.

NOTE: Where backward is not linear
That what is multiplied with the gradient is read linearly holds as long as backward goes on linearly. Where a backward
is written in logarithms (cumulative log-sums), what is saved is added to the logarithm of a gradient, and the sum goes
through an exponential: rounding of a large number there is a factor of what comes out. So what such a chain reads is
exact. Hardly any other backward has one.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx

from ..autograd.internals import OpOverload
from ..operators.aten import FACTORS, TERMS, VIEWS, name_of
from .values import reached

SHAPED = {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}
"""Of their argument they read the size alone."""

_LINEAR = VIEWS | TERMS | {"addcmul", "deg2rad", "masked_fill", "neg", "positive", "rad2deg", "where"}
"""Operators of each element that are linear in it, where the other factor or the condition is another value."""
_CURVES_TEXT = """
    _log_softmax _safe_softmax _softmax amax amin aminmax argmax argmin argsort cummax cummin cumprod kthvalue
    linalg_vector_norm logcumsumexp logsumexp max median min mode native_batch_norm native_group_norm native_layer_norm
    norm prod rrelu_with_noise sort std std_mean topk var var_mean
"""
_CURVES = frozenset(_CURVES_TEXT.split())
"""Operators of several elements that are not linear in them."""
_PRODUCTS = {
    **dict.fromkeys(("bmm", "convolution", "dot", "fma", "linear", "mm", "mul", "mv"), (0, 1)),
    **dict.fromkeys(("addcmul", "addmm", "addmv", "baddbmm"), (1, 2)),
}
"""Positions of the two factors."""


def bent(graph: fx.Graph, gradients: Iterable[fx.Node], readers: Iterable[fx.Node]) -> set[fx.Node]:
    """Those nodes whose value goes through an operator that is not linear in it, be it some steps further on.

    Args:
        graph: Graph of backward.
        gradients: The gradients that come in.
        readers: Nodes that read what was saved, by operators that are linear in it.
    """
    dependent = reached(gradients, lambda node: node.users)
    again = reached(readers, lambda node: node.users) - dependent
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        group = dependent if node in dependent else again
        if node in group and any(_goes_on(user, node, found, group) for user in node.users):
            found.add(node)
    return found


def _goes_on(user: fx.Node, node: fx.Node, found: set[fx.Node], group: set[fx.Node]) -> bool:
    if name_of(user.target) in SHAPED:
        return False
    return user in found or _bends(user, node, group)


def _bends(user: fx.Node, node: fx.Node, group: set[fx.Node]) -> bool:
    """Whether an operator is not linear in one of its arguments, or multiplies two that the same was read for."""
    target, name = user.target, name_of(user.target)
    if not isinstance(target, OpOverload) or "_backward" in name:
        return False
    if name in _PRODUCTS:
        factors = [user.args[place] for place in _PRODUCTS[name]]
        return node in factors and all(isinstance(each, fx.Node) and each in group for each in factors)
    if name == "pow":
        return user.args[1:2] != (1,)
    if name in ("div", "true_divide"):
        return user.args[1] is node or "rounding_mode" in user.kwargs
    if name == "where" and user.args[0] is node:
        return True
    is_pointwise = torch.Tag.pointwise in target.tags
    return name in _CURVES or (is_pointwise and name not in _LINEAR and name not in FACTORS)


def is_chosen(node: fx.Node, dependent: set[fx.Node]) -> bool:
    """Whether backward takes what a node gives for some elements and another gradient for the others.

    Args:
        node: The node.
        dependent: What depends on the gradient.
    """
    while len(node.users) == 1 and name_of((user := next(iter(node.users))).target) in VIEWS | FACTORS:
        node = user
    choices = (user for user in node.users if name_of(user.target) == "where" and user.args[0] is not node)
    return any(all(each in dependent for each in user.args[1:]) for user in choices)

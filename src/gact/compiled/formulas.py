"""Formulas of backward that the table of nodes holds to be products of all, or that divide what they multiplied.

NOTE: Whose formula a node of backward is part of
Torch writes the formula of a node of autograd out in products and sums, of which each is linear in what was saved. The
whole need not be: a reflection is taken off another, a product is divided by one of its factors, and what is left is
far smaller than what was saved. Nodes of forward and of backward have the number of the node of autograd that they are
part of, so the table of nodes tells what is read exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import fx

from ..operators.aten import VIEWS, is_product_of_all, name_of
from .values import is_float, numel

_NUMBER = "seq_nr"
_STATISTIC = 8
"""A divisor of so many times fewer elements is a statistic: it is as large in all of a row."""
_LINEAR = VIEWS | {"gather", "index", "index_select", "masked_fill", "mul", "neg", "where"}


def products_of_all(forward: fx.Graph, backward: fx.Graph) -> set[fx.Node]:
    """Those nodes of backward that are part of a formula which the table of nodes holds to be a product of all.

    Args:
        forward: Graph of forward.
        backward: Graph of backward.
    """
    nodes = (node for node in forward.nodes if node.op == "call_function" and not node.meta.get("autograd_backward"))
    numbers = {number_of(node) for node in nodes if any(map(is_product_of_all, _names(node)))} - {None}
    return {node for node in backward.nodes if number_of(node) in numbers} if numbers else set()


def divided_again(readers: Iterable[fx.Node], twin: Mapping[fx.Node, fx.Node]) -> set[fx.Node]:
    """Those nodes that multiply the gradient by what was saved, where their formula divides the product afterwards.

    Args:
        readers: Nodes of backward that read what was saved, linearly.
        twin: Nodes of the forward graph, by the node of backward that computes the same.
    """
    return {node for node in readers if name_of(node.target) == "mul" and _is_divided(node, twin)}


def number_of(node: fx.Node) -> int | None:
    """The number of the node of autograd that a node is part of; None if it is not known."""
    number = node.meta.get(_NUMBER)
    return number if isinstance(number, int) and number >= 0 else None


def _names(node: fx.Node) -> set[str]:
    """Names of the operator, and of the one that was written out so."""
    return {name_of(node.target), name_of(node.meta.get("original_aten"))} - {""}


def _is_divided(node: fx.Node, twin: Mapping[fx.Node, fx.Node]) -> bool:
    number, coming, seen = number_of(node), [node], set[fx.Node]()
    while coming and number is not None:
        at = coming.pop()
        for user in at.users:
            if user in seen or number_of(user) != number:
                continue
            seen.add(user)
            if name_of(user.target) == "div" and user.args[0] is at and _divides(user.args[1], user, twin):
                return True
            if name_of(user.target) in _LINEAR:
                coming.append(user)
    return False


def _divides(divisor: object, node: fx.Node, twin: Mapping[fx.Node, fx.Node]) -> bool:
    known = isinstance(divisor, fx.Node) and divisor in twin and is_float(divisor)
    return known and _STATISTIC * numel(divisor) > numel(node)  # type: ignore[arg-type]

"""What backward reads of values that do not depend on the gradient, and what must survive of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from torch import fx

from ..operators.aten import EXPONENTIALS, name_of, need_of_argument
from ..operators.need import Need, exact
from .bends import bent, is_chosen
from .formulas import divided_again
from .norms import is_of_few, is_statistic
from .values import is_float, numel, reached

_GRADIENT = exact("returned as a gradient")
_UNKNOWN = exact("no operator of aten")
_BENT = exact("backward bends it")
_ONE_SIDE = exact("exponentials of one side")
_STATISTIC = exact("statistic")
_FEW = exact("normalised over few elements")
_PRODUCT_OF_ALL = exact("products of all")
_AGAIN = exact("backward divides the product")
_MANY = 32
"""Elements of the gradient that one of a value is multiplied with, from which on it is exact: a bit of each at most."""


class Reading:
    """One argument of a node of backward that does not depend on the gradient.

    Attributes:
        node: What is read, in the forward graph.
        reader: The node of backward.
        argument: Its argument in the graph of backward.
        need: What must survive of it.
    """

    __slots__ = ("argument", "need", "node", "reader")

    def __init__(self, node: fx.Node, reader: fx.Node, argument: fx.Node, need: Need) -> None:
        self.node, self.reader, self.argument, self.need = node, reader, argument, need


def readings_of(
    backward: fx.Graph, twin: Mapping[fx.Node, fx.Node], states: Mapping[fx.Node, fx.Node], of_all: Set[fx.Node]
) -> list[Reading]:
    """What backward reads that does not depend on the gradient, in order.

    Args:
        backward: Graph of backward.
        twin: Nodes of the forward graph, by the node of backward that computes the same.
        states: The inputs of backward by which states of random number generators come, by node of forward.
        of_all: Nodes of backward that are part of a formula that reads all exactly.
    """
    found = [
        Reading(twin[argument], node, argument, _need(node, name))
        for node in backward.nodes
        if node not in twin
        for name, argument in _arguments(node)
        if argument in twin
    ]
    known = {*twin, *states.values()}
    gradients = [node for node in backward.find_nodes(op="placeholder") if node not in known]
    readers = {each.reader for each in found if each.need.kind == "value" and is_float(each.node)}
    bends = bent(backward, gradients, readers)
    again = divided_again(readers, twin)
    dependent = reached(gradients, lambda node: node.users)
    for reading in found:
        if reading.need.kind != "value":
            continue
        if reading.reader in of_all or reading.reader in again:
            reading.need = _PRODUCT_OF_ALL if reading.reader in of_all else _AGAIN
        elif reading.reader in bends:
            reading.need = _BENT
        elif name_of(reading.node.target) in EXPONENTIALS and is_chosen(reading.reader, dependent):
            reading.need = _ONE_SIDE
        elif is_statistic(reading.node) or _is_for_many(reading):
            reading.need = _STATISTIC
        elif is_of_few(reading.node):
            reading.need = _FEW
    return found


def _is_for_many(reading: Reading) -> bool:
    """Whether one element of a value is multiplied with many of the gradient."""
    return name_of(reading.reader.target) == "mul" and numel(reading.reader) >= _MANY * numel(reading.node)


def _need(node: fx.Node, name: str) -> Need:
    if node.op == "output":
        return _GRADIENT
    return need_of_argument(node.target, name) if node.op == "call_function" else _UNKNOWN


def _arguments(node: fx.Node) -> Iterator[tuple[str, fx.Node]]:
    """The nodes that a node reads, each with the name of its argument."""
    schema = getattr(node.target, "_schema", None)
    for place, value in enumerate(node.args):
        known = schema is not None and place < len(schema.arguments)
        name = schema.arguments[place].name if schema is not None and known else ""
        for each in nodes_in(value):
            yield name, each
    for name, value in node.kwargs.items():
        for each in nodes_in(value):
            yield name, each


def nodes_in(value: Any) -> list[fx.Node]:
    """The nodes among arguments, in order."""
    found: list[fx.Node] = []
    fx.map_arg(value, lambda node: found.append(node))
    return found

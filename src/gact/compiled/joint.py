"""What backward computes of saved values alone, written beside the forward graph.

The partitioner of torch leaves part of the forward computation to backward: it saves a little and computes the rest
again. Of that rest some is computed of saved values alone, without the gradient that comes in. Written beside the
forward graph it can be seen what a saved value is for, and values in the middle of it can be held instead.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import fx

from ..autograd.internals import OpOverload
from ..operators.aten import FACTORS, RESHAPES, TERMS, VIEWS, name_of, need_of_argument
from ..operators.need import Need, exact
from .values import is_symbol, tensor_of

_GRADIENT = exact("returned as a gradient")
_UNKNOWN = exact("no operator of aten")
_CHEAP = VIEWS | FACTORS | TERMS | {"full", "neg", "where", "logical_not"}


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


class Joint:
    """The forward graph with what backward computes of saved values alone.

    Args:
        forward: Graph of forward, which is extended.
        backward: Graph of backward, which is read.
        outputs: How many results of forward are not saved for backward.
        static: Positions of those inputs of forward that are parameters or buffers.

    Attributes:
        saved: What forward saves for backward, in order.
        twin: Nodes of the forward graph, by the node of backward that computes the same.
        readings: What backward reads of them, in order.
    """

    def __init__(self, forward: fx.Graph, backward: fx.Graph, outputs: int, static: Iterable[int]) -> None:
        self.forward, self.backward = forward, backward
        results: Any = forward.output_node().args[0]
        self.results, self.saved = list(results[:outputs]), list(results[outputs:])
        inputs = forward.find_nodes(op="placeholder")
        self.inputs = set(inputs)
        self._first = next(node for node in forward.nodes if node.op != "placeholder")
        self._static = {inputs[place] for place in static if place < len(inputs)}
        self._free: dict[fx.Node, bool] = {}
        self._known: dict[Any, fx.Node] = {}
        self._computed: set[fx.Node] = set()
        self.added: list[fx.Node] = []
        self.twin: dict[fx.Node, fx.Node] = {}
        for node in forward.nodes:
            if is_pure(node):
                self._known.setdefault(_key(node.target, node.args, node.kwargs), node)
                self._known.setdefault(_place(node), node)
        self._write()
        self.readings = list(self._read())

    def is_static(self, node: fx.Node) -> bool:
        """Whether a node is a parameter or a buffer."""
        return node in self._static

    def is_cheap(self, node: fx.Node) -> bool:
        """Whether backward may compute a node: as torch has divided the graph it does, or it takes a pass at most."""
        return node in self._computed or (is_pure(node) and name_of(node.target) in _CHEAP)

    def is_free(self, node: fx.Node) -> bool:
        """Whether backward can have a node without anything being held: made of parameters and constants alone."""
        known = self._free.get(node)
        if known is None:
            known = node in self._static or is_symbol(node) or node.op == "get_attr"
            if not known and self.is_cheap(node):
                known = all(self.is_free(each) for each in node.all_input_nodes)
            self._free[node] = known
        return known

    def add(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], like: fx.Node) -> fx.Node:
        """A node of the forward graph that computes this, the one there is or a new one right after its last input.

        Args:
            target: The operator.
            args: Positional arguments.
            kwargs: Others.
            like: Whose metadata it gets.
        """
        key = _key(target, args, kwargs)
        node = self._known.get(key) or self._known.get(_place_of(target, args, like))
        if node is not None:
            return node
        inputs = [each for each in _nodes((args, kwargs)) if each not in self.inputs]
        last = max(inputs, default=None)
        place = self.forward.inserting_before(self._first) if last is None else self.forward.inserting_after(last)
        with place:
            node = self.forward.call_function(target, args, kwargs)
        node.meta = dict(like.meta)
        self._known[key] = node
        self._known.setdefault(_place(node), node)
        self.added.append(node)
        return node

    def _write(self) -> None:
        """Writes those nodes of backward into the forward graph that depend on saved values alone."""
        names = {node.name: node for node in self.saved}
        for node in self.backward.nodes:
            if node.op == "placeholder":
                if node.name in names:
                    self.twin[node] = names[node.name]
            elif is_pure(node) and all(each in self.twin for each in node.all_input_nodes):
                args = fx.map_arg(node.args, self.twin.__getitem__)
                kwargs = fx.map_arg(node.kwargs, self.twin.__getitem__)
                self.twin[node] = self.add(node.target, args, kwargs, node)
                self._computed.add(self.twin[node])

    def zero(self, like: fx.Node) -> fx.Node:
        """A zero of the dtype and device of a node's tensor, without dimensions."""
        tensor = tensor_of(like)
        assert tensor is not None
        fake = tensor.new_zeros(())
        options = {"dtype": tensor.dtype, "device": tensor.device, "pin_memory": False}
        node = self.add(torch.ops.aten.full.default, ([], 0.0), options, like)
        node.meta = {"val": fake}
        return node

    def _read(self) -> Iterator[Reading]:
        for node in self.backward.nodes:
            if node in self.twin or node.op == "placeholder":
                continue
            for name, argument in _arguments(node):
                if argument in self.twin:
                    need = _need(node, name)
                    yield Reading(self.twin[argument], node, argument, need)


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
        for each in _nodes(value):
            yield name, each
    for name, value in node.kwargs.items():
        for each in _nodes(value):
            yield name, each


def _nodes(value: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.map_arg(value, lambda node: found.append(node))
    return found


def is_pure(node: fx.Node) -> bool:
    """Whether a node gives the same whenever it is computed, and does nothing else."""
    target = node.target
    if node.op != "call_function":
        return False
    if isinstance(target, OpOverload):
        if target.namespace not in ("aten", "prims") or target._schema.is_mutable:
            return False
        return torch.Tag.nondeterministic_seeded not in target.tags and "inductor" not in target._schema.name
    return target is operator.getitem or (is_symbol(node) and tensor_of(node) is None)


def _place(node: fx.Node) -> Any:
    """What tells a node that leaves the order of elements as it is: where they come from, and its size."""
    return _place_of(node.target, node.args, node)


def _place_of(target: Any, args: tuple[Any, ...], like: fx.Node) -> Any:
    tensor = tensor_of(like)
    if name_of(target) not in RESHAPES or tensor is None:
        return _key(target, args, like.kwargs)
    source = args[0]
    while name_of(source.target) in RESHAPES:
        source = source.args[0]
    return "reshaped", source, tuple(str(each) for each in tensor.shape)


def _key(target: Any, args: Any, kwargs: Any) -> Any:
    return target, _frozen(args), _frozen(kwargs)


def _frozen(value: Any) -> Any:
    """A value that can be compared and hashed; numbers of different types differ."""
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(each) for each in value)
    if isinstance(value, dict):
        return tuple(sorted((name, _frozen(each)) for name, each in value.items()))
    if isinstance(value, slice):
        return "slice", _frozen(value.start), _frozen(value.stop), _frozen(value.step)
    if isinstance(value, float):
        return "float", value.hex()
    return value if isinstance(value, (fx.Node, str)) else (type(value).__name__, value)

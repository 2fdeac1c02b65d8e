"""What backward computes of saved values alone, written beside the forward graph.

The partitioner of torch leaves part of the forward computation to backward: it saves a little and computes the rest
again. Of that rest some is computed of saved values alone, without the gradient that comes in. Written beside the
forward graph it can be seen what a saved value is for, and values in the middle of it can be held instead.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from ..autograd.internals import OpOverload
from ..operators.aten import FACTORS, RESHAPES, TERMS, VIEWS, name_of
from .bends import SHAPED
from .formulas import products_of_all
from .readings import nodes_in, readings_of
from .states import states_of
from .sums import weighs
from .values import is_float, is_small, is_symbol, tensor_of

_CHEAP = VIEWS | FACTORS | TERMS | {"full", "neg", "where", "logical_not"}


class Joint:
    """The forward graph with what backward computes of saved values alone.

    Args:
        forward: Graph of forward, which is extended.
        backward: Graph of backward, which is read.
        outputs: How many results of forward are not saved for backward.
        static: Positions of those inputs of forward that are parameters or buffers.

    Attributes:
        saved: What forward saves for backward, in order, states of generators left out.
        states: The inputs of backward by which states of random number generators come, by node of forward.
        twin: Nodes of the forward graph, by the node of backward that computes the same.
        readings: What backward reads of them, in order.
    """

    def __init__(self, forward: fx.Graph, backward: fx.Graph, outputs: int, static: Iterable[int]) -> None:
        self.forward, self.backward = forward, backward
        results: Any = forward.output_node().args[0]
        self.states = states_of(results[outputs:], backward.find_nodes(op="placeholder"))
        self.results = list(results[:outputs])
        self.saved = [node for node in results[outputs:] if node not in self.states]
        inputs = forward.find_nodes(op="placeholder")
        self.inputs = set(inputs)
        self._first = next(node for node in forward.nodes if node.op != "placeholder")
        self._static = {inputs[place] for place in static if place < len(inputs)}
        self._free: dict[fx.Node, bool] = {}
        self._counted: dict[fx.Node, bool] = {}
        self._known: dict[Any, fx.Node] = {}
        self._computed: set[fx.Node] = set()
        self.added: list[fx.Node] = []
        self.twin: dict[fx.Node, fx.Node] = {}
        for node in forward.nodes:
            if is_pure(node):
                self._known.setdefault(self._key(node.target, node.args, node.kwargs), node)
        self._of_all = products_of_all(forward, backward)
        self._write()
        self._gather()
        self.readings = readings_of(backward, self.twin, self.states, self._of_all)

    def is_static(self, node: fx.Node) -> bool:
        """Whether a node is a parameter or a buffer."""
        return node in self._static

    def is_counted(self, node: fx.Node) -> bool:
        """Whether a value is made of integers, truth values and sizes alone, as what marks the class of each row is."""
        known = self._counted.get(node)
        if known is None:
            known = node.op == "get_attr" or is_symbol(node) or (tensor_of(node) is not None and not is_float(node))
            if not known and node.op == "call_function":
                inputs = [] if name_of(node.target) in SHAPED else node.all_input_nodes
                known = all(map(self.is_counted, inputs))
            self._counted[node] = known
        return known

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
        key = self._key(target, args, kwargs)
        node = self._known.get(key) or self._known.get(_place(target, args, like))
        if node is not None:
            return node
        inputs = [each for each in nodes_in((args, kwargs)) if each not in self.inputs]
        last = max(inputs, default=None)
        place = self.forward.inserting_before(self._first) if last is None else self.forward.inserting_after(last)
        with place:
            node = self.forward.call_function(target, args, kwargs)
        node.meta = dict(like.meta)
        self._known[key] = node
        self.added.append(node)
        return node

    def _key(self, target: Any, args: Any, kwargs: Any) -> Any:
        """What tells a node that computes something from others."""
        return target, _frozen(fx.map_arg(args, self._first_of)), _frozen(fx.map_arg(kwargs, self._first_of))

    def _first_of(self, node: fx.Node) -> fx.Node:
        """The first node that has the same elements in the same order and size, however it was squeezed."""
        tensor = tensor_of(node)
        return node if tensor is None else self._known.setdefault(_arranged(node, tensor), node)

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
                self.twin[node] = twin = self.add(node.target, args, kwargs, node)
                if twin.target is node.target:  # else it is what this shows, which backward does not compute
                    self._computed.add(twin)

    def _gather(self) -> None:
        """Has backward multiply the gradient once where it would by two saved values in a row, of one size each."""
        for node in list(self.backward.nodes):
            first = self._factor(node)
            if first is None:
                continue
            before = next(each for each in node.args if each is not first)
            second = self._factor(before)
            if second is None or len(before.users) > 1 or self._is_discrete(first) or self._is_discrete(second):
                continue
            with self.backward.inserting_before(node):
                both = self.backward.call_function(torch.ops.aten.mul.Tensor, (second, first))
            both.meta = {name: value for name, value in first.meta.items() if name in ("val", "nn_module_stack")}
            self.twin[both] = self.add(both.target, (self.twin[second], self.twin[first]), {}, both)
            self._computed.add(self.twin[both])
            gradient = next(each for each in before.args if each is not second)
            node.args = (gradient, both)
            self.backward.erase_node(before)

    def _factor(self, node: Any) -> fx.Node | None:
        """The saved value that a node of backward multiplies what depends on the gradient by; None if it does not."""
        if not isinstance(node, fx.Node) or node in self.twin or name_of(node.target) != "mul" or node in self._of_all:
            return None
        saved = [each for each in node.args if isinstance(each, fx.Node) and each in self.twin]
        own = tensor_of(node)
        found = tensor_of(saved[0]) if len(saved) == 1 and len(node.all_input_nodes) == 2 else None
        alike = own is not None and found is not None and own.shape == found.shape and own.dtype == found.dtype
        # What adds to one is held by itself: its product with values that have much in common does not cancel.
        apart = alike and weighs(self.twin[saved[0]])
        return saved[0] if alike and not apart and not is_small(saved[0]) else None

    def _is_discrete(self, node: fx.Node) -> bool:
        """Whether a value is made of truth values and constants by cheap steps: a mask of dropout."""
        node = self.twin.get(node, node)
        if tensor_of(node) is None or not tensor_of(node).is_floating_point():  # type: ignore[union-attr]
            return True
        return self.is_free(node) or (self.is_cheap(node) and all(map(self._is_discrete, node.all_input_nodes)))

    def zero(self, like: fx.Node) -> fx.Node:
        """A zero of the dtype and device of a node's tensor, without dimensions."""
        tensor = tensor_of(like)
        assert tensor is not None
        fake = tensor.new_zeros(())
        options = {"dtype": tensor.dtype, "device": tensor.device, "pin_memory": False}
        node = self.add(torch.ops.aten.full.default, ([], 0.0), options, like)
        node.meta = {"val": fake}
        return node


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


def _place(target: Any, args: tuple[Any, ...], like: fx.Node) -> Any:
    """What tells a node that would leave the order of elements as it is; None for any other."""
    tensor = tensor_of(like)
    return None if tensor is None or name_of(target) not in RESHAPES else _arranged(args[0], tensor)


def _arranged(node: fx.Node, tensor: Tensor) -> Any:
    """Where elements come from, if nothing but their size was changed, and the size they have now."""
    while name_of(node.target) in RESHAPES:
        node = node.args[0]  # type: ignore[assignment]
    return "arranged", node, tuple(str(each) for each in tensor.shape)


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

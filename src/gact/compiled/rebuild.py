"""Changes the two graphs of compiled code so that what was chosen is held.

NOTE: Where codes are made and read
A value is packed right after its producer and unpacked right before its first reader. Neither torch nor Inductor moves
such an operator, and all codes decoded at the beginning of backward would make its peak what it is without codes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from ..operators.aten import MAGNITUDES, ROWS
from ..operators.need import Need
from .accounts import Accounts
from .handles import ADDS, COUNTED, TURN
from .joint import Joint
from .places import Places
from .plan import Plan
from .probabilities import LOGARITHM
from .readings import Reading
from .states import STATE
from .sums import Row, row_of
from .values import is_symbol, nbytes, tensor_of

_ops = torch.ops.gact
_NO_CHECK = "saved_tensor_with_no_vc_check"
_LARGEST = 5.0
_FAR = 60
"""Readers that are so many nodes apart have a value decoded twice, so that it does not stay between the two."""


class Rebuild:
    """Changes the graphs.

    Args:
        joint: The forward graph and what backward reads.
        plan: What is held.
    """

    def __init__(self, joint: Joint, plan: Plan) -> None:
        self._joint, self._plan = joint, plan
        self._forward, self._backward = joint.forward, joint.backward
        self._places = Places()
        self._inputs = {node.name: node for node in self._backward.find_nodes(op="placeholder")}
        saved = {node.name for node in joint.saved}
        self._old = [node for name, node in self._inputs.items() if name in saved]
        states = set(joint.states.values())
        others = [node for name, node in self._inputs.items() if name not in saved and node not in states]
        self._first = next(node for node in self._backward.nodes if node.op != "placeholder")
        self._anchor = others[0] if others else self._first
        self._have: dict[fx.Node, tuple[int, fx.Node]] = {}
        self._at = 0
        self._places_of = {node: place for place, node in enumerate(self._backward.nodes)}
        self._passed: dict[fx.Node, fx.Node] = {}
        self._handles: dict[fx.Node, fx.Node] = {}
        self._scores = _scores(joint)

    def run(self) -> bool:
        """Changes the graphs; whether anything is held at all."""
        for reading in self._joint.readings:
            self._replace(reading)
        if not self._passed:
            return False
        for node, state in self._joint.states.items():
            self._passed[node], self._plan.kept[node] = state, STATE
        self._clear()
        self._account()
        self._arrange()
        for graph in (self._forward, self._backward):
            graph.lint()
        return True

    def _replace(self, reading: Reading) -> None:
        """Gives a reader what is held instead of what it reads."""
        if reading.argument not in reading.reader.all_input_nodes:
            return
        self._at = self._places_of[reading.reader]
        if reading.need.kind == "shape" and not self._is_at_hand(reading.node):
            found = self._empty(reading.node, reading.reader)
        else:
            found = self._give(reading.node, reading.reader)
        reading.reader.replace_input_with(reading.argument, found)

    def _is_at_hand(self, node: fx.Node) -> bool:
        return node in self._have or node in self._plan.packed or node in self._plan.kept

    def _empty(self, node: fx.Node, reader: fx.Node) -> fx.Node:
        """A tensor of the size of another, for readers that look at nothing else."""
        tensor = tensor_of(node)
        assert tensor is not None
        size, stride = self._numbers(node, "size"), self._numbers(node, "stride")
        options: Any = {"dtype": tensor.dtype, "device": tensor.device}
        with self._backward.inserting_before(reader):
            found = self._backward.call_function(torch.ops.aten.empty_strided.default, (size, stride), options)
        found.meta = dict(node.meta)
        return found

    def _numbers(self, node: fx.Node, what: str) -> list[Any]:
        tensor = tensor_of(node)
        return [] if tensor is None else [self._number(node, what, place) for place in range(tensor.dim())]

    def _give(self, node: fx.Node, reader: fx.Node) -> fx.Node:
        """A node of backward for one of forward, made before a reader."""
        at, known = self._have.get(node, (-_FAR, None))
        if known is not None and self._at - at <= _FAR:
            self._have[node] = self._at, known
            return known
        plan = self._plan
        if node in plan.packed:
            found = self._unpack(node, reader)
        elif (
            node in plan.kept
            or self._joint.is_static(node)
            or node in self._joint.inputs
            or (node in self._joint.saved and is_symbol(node))
        ):
            found = self._pass(node)
        else:
            found = self._compute(node, reader)
        self._have[node] = self._at, found
        return found

    def _compute(self, node: fx.Node, reader: fx.Node) -> fx.Node:
        made = self._plan.made.get(node)
        target, args = made if made is not None else (node.target, node.args)
        kwargs = {} if made is not None else node.kwargs

        def give(each: fx.Node) -> fx.Node:
            return self._give(each, reader)

        args, kwargs = fx.map_arg(args, give), fx.map_arg(kwargs, give)
        with self._backward.inserting_before(reader):
            found = self._backward.create_node(node.op, target, args, kwargs)
        found.meta = dict(node.meta)
        return found

    def _pass(self, node: fx.Node) -> fx.Node:
        """The input of backward by which a node of forward comes as it is."""
        found = self._passed.get(node)
        if found is None:
            found = self._inputs.get(node.name)
            if found is None or found not in self._old:
                with self._backward.inserting_before(self._anchor):
                    found = self._backward.placeholder(node.name)
                found.target = found.name  # the code reads arguments by target: two of one name would be one value
                found.meta = dict(node.meta)
            self._passed[node] = found
        return found

    def _unpack(self, node: fx.Node, reader: fx.Node) -> fx.Node:
        tensor = tensor_of(node)
        assert tensor is not None
        handle = self._pass(self._pack(node))
        arguments = (handle, self._numbers(node, "size"), self._numbers(node, "stride"), tensor.dtype, tensor.device)
        with self._backward.inserting_before(reader):
            found = self._backward.call_function(_ops.unpack.default, arguments)
        found.meta = {name: value for name, value in node.meta.items() if name != _NO_CHECK}
        return found

    def _number(self, node: fx.Node, what: str, place: int) -> Any:
        """Size or stride of a dimension: a number, or the node of backward that has it."""
        tensor = tensor_of(node)
        assert tensor is not None
        number: Any = tensor.shape[place] if what == "size" else tensor.stride(place)
        if not isinstance(number, torch.SymInt):
            return number
        for known in (*self._passed, *self._joint.saved):
            value = known.meta.get("val")
            if isinstance(value, torch.SymInt) and value.node.expr == number.node.expr:
                return self._pass(known)
        operator = getattr(torch.ops.aten, f"sym_{what}").int
        symbol = self._joint.add(operator, (node, place), {}, node)
        symbol.meta = {"val": number}
        return self._pass(symbol)

    def _pack(self, node: fx.Node) -> fx.Node:
        """The handle of a node of forward."""
        handle = self._handles.get(node)
        if handle is None:
            need = self._plan.packed[node]
            shared = node in self._joint.inputs or node in self._joint.results
            score = self._score(node, need)
            word = _word(need, self._joint.is_counted(node), row_of(node))
            arguments = (node, self._places.of(node), word, 0.0, shared, score)
            handle = self._joint.add(_ops.pack.default, arguments, {}, node)
            handle.meta = {"val": _ops.pack.default(tensor_of(node), "", "", 0.0, shared, None)}
            self._handles[node] = handle
        return handle

    def _score(self, node: fx.Node, need: Need) -> fx.Node | None:
        """The square of the largest score that a query and a key may have, over that up to which codes will do."""
        reader = self._scores.get(node) if need.form == "scores" else None
        if reader is None:
            return None
        query, key, scale = reader
        longest = [self._longest(each) for each in (query, key)]
        product = self._add(torch.ops.aten.mul.Tensor, *longest)
        width = tensor_of(query).shape[-1]  # type: ignore[union-attr]
        factor = (scale or width**-0.5) ** 2 / width / _LARGEST**2
        return self._add(torch.ops.aten.mul.Tensor, product, factor)

    def _longest(self, node: fx.Node) -> fx.Node:
        """The square of the length of the longest row."""
        square = self._add(torch.ops.aten.mul.Tensor, node, node)
        return self._add(torch.ops.aten.amax.default, self._add(torch.ops.aten.sum.dim_IntList, square, [-1]), [])

    def _add(self, target: Any, *args: Any) -> fx.Node:
        like = next(each for each in args if isinstance(each, fx.Node))
        values = fx.map_arg(args, lambda each: each.meta["val"])
        node = self._joint.add(target, args, {}, like)
        node.meta = {"val": target(*values)}
        return node

    def _clear(self) -> None:
        """Removes what is no longer read."""
        for node in reversed(list(self._backward.nodes)):
            if node.op == "call_function" and not node.users and node in self._joint.twin:
                self._backward.erase_node(node)
        for node in self._old:
            if not node.users and node not in self._passed.values():
                self._backward.erase_node(node)
        for node in reversed(self._joint.added):
            if not node.users and node not in self._passed:
                self._forward.erase_node(node)

    def _account(self) -> None:
        """Notes what is saved as it is, and how much plain code would save in place of what is held."""
        kept = [node for node in self._passed if tensor_of(node) is not None and node not in self._handles.values()]
        static = [node for node in kept if self._joint.is_static(node)]
        others = [node for node in kept if node not in static]
        shares = Accounts(self._joint, self._handles, others).shares
        for node, handle in self._handles.items():
            handle.args = (*handle.args[:3], _ratio(shares[node], node), *handle.args[4:])
        lines = []
        for node in others:
            share = "" if shares[node] is None else repr(_ratio(shares[node], node))
            lines.append(f"{self._places.of(node)}|{self._plan.kept.get(node, 'small')}|{share}")
        with self._forward.inserting_before(self._forward.output_node()):
            note = self._forward.call_function(_ops.note.default, (others, "\n".join(lines), len(static)))
        note.meta = {"val": _ops.note.default([], "", 0)}
        self._pass(note)

    def _arrange(self) -> None:
        """Puts outputs of forward and inputs of backward in the order that torch expects."""
        passed = list(self._passed)
        unchecked = [node for node in passed if node.meta.get(_NO_CHECK) and tensor_of(node) is not None]
        tensors = [node for node in passed if tensor_of(node) is not None and node not in unchecked]
        symbols = [node for node in passed if tensor_of(node) is None]
        self._forward.output_node().args = ((*self._joint.results, *tensors, *unchecked, *symbols),)
        for node in (*symbols, *tensors, *unchecked):
            if self._passed[node] is not self._anchor:
                self._anchor.prepend(self._passed[node])


def _ratio(share: int | None, node: fx.Node) -> float:
    """Bytes over those of a node's tensor, so that its product with these is no byte less."""
    return (share + 0.5) / nbytes(node) if share else 0.0


def _word(need: Need, counted: bool, row: Row | None) -> str:
    if need.kind != "value":
        return "exact"
    if need.form.startswith(LOGARITHM):
        return need.form
    word = COUNTED if counted else "value"
    word = f"{word} {need.min_bits}" if need.min_bits > 1 else word
    word = f"{word} {TURN} {need.turn:.6g} {need.times}" if need.turn else word
    word = f"{word} {need.form}" if need.form in (MAGNITUDES, ROWS) else word
    return word if row is None else f"{word} {ADDS} {row.dim} {int(row.is_sure)}"


def _scores(joint: Joint) -> dict[fx.Node, tuple[fx.Node, fx.Node, float | None]]:
    """Query, key and scale of the attention that reads a value."""
    found: dict[fx.Node, tuple[fx.Node, fx.Node, float | None]] = {}
    by_reader: dict[fx.Node, dict[str, fx.Node]] = {}
    for reading in joint.readings:
        if reading.need.form == "scores":
            schema = reading.reader.target._schema.arguments  # type: ignore[union-attr]
            places = {id(value): schema[place].name for place, value in enumerate(reading.reader.args)}
            by_reader.setdefault(reading.reader, {})[places.get(id(reading.argument), "")] = reading.node
    for reader, nodes in by_reader.items():
        scale: Any = reader.kwargs.get("scale")
        if "query" in nodes and "key" in nodes:
            for node in nodes.values():
                found[node] = (nodes["query"], nodes["key"], scale)
    return found

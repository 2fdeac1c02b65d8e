"""The nodes of autograd's graph: what their slots hold, and the way back from a result to the nodes behind it.

NOTE: How a save is recognised
A pack hook sees a tensor and nothing else. But what it returns can be found again: once an op has returned,
``node._raw_saved_<slot>.data`` is that very object, where ``slot`` is the name in torch's derivative formulas. So
each save is told by the node that made it, whatever called the op: Python, an overload, TorchScript or C++.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from .internals import get_unwrapped, is_wrapped, next_sequence_number

_PREFIX = "_raw_saved_"
_FUNCTION_SLOTS = (("", "_raw_saved_tensors"),)
"""A custom Function has one slot, which holds all that ``save_for_backward`` was given."""
_LEAF = "torch::autograd::AccumulateGrad"
_NAME = re.compile(r"Backward\d*(_copy)?$")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def saving_number() -> int:
    """Sequence number of the node that is saving now: the one this thread has made last."""
    return int(next_sequence_number()) - 1


def op_of(node: Node) -> str:
    """What a report calls the op of a node: ``addmm`` for ``AddmmBackward0``, a custom Function's name as it is."""
    if isinstance(node, BackwardCFunction):
        return node.name().removesuffix("Backward")
    name = _NAME.sub("", node.name().rpartition("::")[2])
    return _WORD.sub("_", name).lower()


def signed(dim: int) -> int:
    """A dimension that a node has saved, which tells -1 without its sign."""
    return dim if dim < 1 << 63 else dim - (1 << 64)


def results_of(value: Any) -> Iterator[Tensor]:
    """The tensors in what an op returned, containers of Python included."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from results_of(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from results_of(each)


def roots_of(results: Iterable[Tensor]) -> list[Node]:
    """The nodes that made these tensors."""
    return [node for node in map(_made_by, results) if node is not None]


def _made_by(tensor: Tensor) -> Node | None:
    """The node that made a tensor, or what a transform of ``torch.func`` has wrapped."""
    while tensor.grad_fn is None and is_wrapped(tensor):
        tensor = get_unwrapped(tensor)
    return tensor.grad_fn


def slot_of(node: Node, held: Any) -> tuple[str, int] | None:
    """The slot of a node that holds what a hook returned, and its place among the node's slots; None if none does.

    Args:
        node: The node; most saves are those of the node that made the result.
        held: What the hook returned.
    """
    for place, (slot, attribute) in enumerate(_slots_of(type(node))):
        try:
            raw = getattr(node, attribute)
            if raw is not None and raw.data is held:
                return slot, place
        except (AttributeError, RuntimeError):  # a list of tensors, or a graph that was released
            return None
    return None


def walk(roots: Iterable[Node], lowest: int, told: Callable[[Any, Node, str, int], bool]) -> None:
    """Goes back from nodes and shows what hooks have returned for their slots, until somebody has seen enough.

    Args:
        roots: Where to begin.
        lowest: Nodes that were made before the one of this sequence number are not looked at.
        told: Called with what a hook returned, the node, the name of the slot and its place among the node's slots;
            says whether to stop.
    """
    coming, seen = list(roots), set()
    while coming:
        node = coming.pop()
        if node in seen or node._sequence_nr() < lowest or node.name() == _LEAF:
            continue
        seen.add(node)
        for place, (held, slot) in enumerate(held_by(node)):
            if told(held, node, slot, place):
                return
        coming.extend(earlier for earlier, _ in node.next_functions if earlier is not None)


def saves_of(node: Node) -> Iterator[Any]:
    """What hooks have returned for the slots of a node, in which it holds something."""
    return (held for held, _ in held_by(node))


def held_by(node: Node) -> Iterator[tuple[Any, str]]:
    """What hooks have returned for each slot of a node."""
    return ((raw.data, slot) for raw, slot in _saved_by(node))


def unpackers_of(node: Node) -> Iterator[tuple[Any, Any]]:
    """The unpack hook of each slot of a node that has one, and what it is given; before torch 2.13 none is told."""
    for raw, _ in _saved_by(node):
        hook = getattr(raw, "unpack_hook", None)
        if hook is not None:
            yield hook, raw.data


def _saved_by(node: Node) -> Iterator[tuple[Any, str]]:
    """What autograd has saved for each slot of a node."""
    slots = _FUNCTION_SLOTS if isinstance(node, BackwardCFunction) else _slots_of(type(node))
    for slot, attribute in slots:
        try:
            raw = getattr(node, attribute)
        except RuntimeError:  # its graph was released
            return
        if raw is None:
            continue
        if isinstance(raw, (tuple, list)):
            yield from ((each, slot or str(place)) for place, each in enumerate(raw) if each is not None)
        else:
            yield raw, slot


@cache
def _slots_of(kind: type[Node]) -> tuple[tuple[str, str], ...]:
    """Slots of a class of nodes, each with the attribute that holds it."""
    return tuple((name.removeprefix(_PREFIX), name) for name in dir(kind) if name.startswith(_PREFIX))

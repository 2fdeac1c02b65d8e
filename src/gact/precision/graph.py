"""The leaves of an autograd graph and the nodes that read them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import Node

from ..saved.parameters import PASS_THROUGH

_LEAF = "torch::autograd::AccumulateGrad"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor in which a backward pass ends.

    Attributes:
        tensor: The tensor.
        readers: Sequence numbers of the nodes that read it, views and casts of it looked through.
    """

    tensor: Tensor
    readers: frozenset[int]


def leaves_of(loss: Tensor) -> list[Leaf]:
    """The leaf tensors that a loss depends on and that want a gradient, each with who reads it."""
    readers = _readers(loss)
    leaves = []
    for node in readers:
        if node.name() == _LEAF:
            variable: Tensor = node.variable  # type: ignore[attr-defined]
            numbers = (reader._sequence_nr() for reader in _behind_views(node, readers))
            leaves.append(Leaf(variable, frozenset(numbers)))
    return leaves


def nodes_of(loss: Tensor) -> list[Node]:
    """All nodes of the graph of a loss."""
    return [*([loss.grad_fn] if loss.grad_fn is not None else []), *_readers(loss)]


def _readers(loss: Tensor) -> dict[Node, list[Node]]:
    """The nodes behind that of the loss, each with those that read it."""
    readers: dict[Node, list[Node]] = {}
    waiting = [loss.grad_fn] if loss.grad_fn is not None else []
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        for following, _ in node.next_functions:
            if following is None:
                continue
            readers.setdefault(following, []).append(node)
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return readers


def _behind_views(node: Node, readers: dict[Node, list[Node]]) -> list[Node]:
    found: list[Node] = []
    waiting, seen = list(readers.get(node, ())), set()
    while waiting:
        reader = waiting.pop()
        if reader in seen:
            continue
        seen.add(reader)
        if reader.name() in PASS_THROUGH and reader in readers:
            waiting.extend(readers[reader])
        else:
            found.append(reader)
    return found

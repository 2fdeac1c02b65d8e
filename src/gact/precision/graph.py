"""The roots and leaves of an autograd graph, and the nodes in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.nodes import walk
from ..autograd.passes import Pass, Root
from ..saved.kept import Copied, Kept
from ..saved.parameters import PASS_THROUGH
from ..saved.save import Save
from ..saved.steps import Step

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


class Roots(NamedTuple):
    """Where a backward pass begins.

    Attributes:
        of: Tensors, or nodes and which of their results.
        gradients: The gradient of each; None for that of a scalar.
    """

    of: tuple[Root, ...]
    gradients: tuple[Tensor | None, ...]

    @classmethod
    def alone(cls, loss: Tensor) -> Roots:
        """The root of a scalar loss."""
        return cls((loss,), (None,))

    @classmethod
    def of_pass(cls, begun: Pass) -> Roots:
        """The roots of a pass that is about to run."""
        return cls(begun.roots, begun.gradients)

    @property
    def nodes(self) -> list[Node]:
        """The nodes in which the pass begins."""
        return _nodes_of(self.of)


def _nodes_of(roots: Iterable[Root]) -> list[Node]:
    nodes = (root.grad_fn if isinstance(root, Tensor) else root.node for root in roots)
    return [node for node in nodes if node is not None]


def saves_of(step: Step, roots: Iterable[Root], step_of: Callable[[object], Step | None] = lambda _: None) -> bool:
    """Whether a graph holds anything that was saved in a step.

    Args:
        step: The step.
        roots: Where the graph begins.
        step_of: Tells the step of what a graph holds otherwise than our hooks have it.
    """
    found = False

    def told(held: object, node: Node, slot: str, place: int) -> bool:
        nonlocal found
        found = (held.step if isinstance(held, (Save, Kept, Copied)) else step_of(held)) is step
        return found

    walk(_nodes_of(roots), 0, told)
    return found


def leaves_of(roots: Roots) -> list[Leaf]:
    """The leaf tensors that roots depend on and that want a gradient, each with who reads it."""
    readers = _readers(roots)
    leaves = []
    for node in readers:
        if node.name() == _LEAF:
            variable: Tensor = node.variable  # type: ignore[attr-defined]
            numbers = (reader._sequence_nr() for reader in _behind_views(node, readers))
            leaves.append(Leaf(variable, frozenset(numbers)))
    return leaves


def nodes_of(roots: Roots) -> list[Node]:
    """All nodes of the graph behind roots."""
    return [*roots.nodes, *_readers(roots)]


def _readers(roots: Roots) -> dict[Node, list[Node]]:
    """The nodes behind the roots, each with those that read it."""
    readers: dict[Node, list[Node]] = {}
    waiting = roots.nodes
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

"""What is held exactly since exponentials undo each other: ``operators/decays.py`` tells why.

Queries times ``exp(b)`` and keys times ``exp(-b)`` are multiplied with each other, so what one makes tiny the other
makes huge, and both count.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from ..operators.aten import VIEWS, name_of
from .joint import Joint

_EXPONENTIALS = frozenset({"cumprod", "exp", "exp2"})
_PLACES = {"bmm": (0, 1), "mm": (0, 1), "mv": (0, 1), "baddbmm": (1, 2)}
_DEEPEST = 4
"""Products behind one another that are looked at."""


def undone(joint: Joint) -> Iterator[fx.Node]:
    """The exponentials that others undo, and what they are multiplied with.

    Args:
        joint: The forward graph and what backward reads.
    """
    added = set(joint.added)
    for node in joint.forward.nodes:
        places = _PLACES.get(name_of(node.target)) if node not in added else None
        sides = [list(_factors(node.args[place])) for place in places] if places is not None else []
        if sides and all(sides):
            for side in sides:
                yield from side


def _factors(node: object, depth: int = _DEEPEST) -> list[fx.Node]:
    """Products and factors of a value that is multiplied with an exponential or divided by one; [] for others."""
    while isinstance(node, fx.Node) and name_of(node.target) in VIEWS:
        node = node.args[0]
    if not isinstance(node, fx.Node) or name_of(node.target) not in ("mul", "div") or not depth:
        return []
    inputs = [_bare(each) for each in node.args if isinstance(each, fx.Node)]
    found = [each for each in inputs if name_of(each.target) in _EXPONENTIALS]
    behind = [each for one in inputs for each in _factors(one, depth - 1)]
    return [node, *inputs, *behind] if found or behind else []


def _bare(node: fx.Node) -> fx.Node:
    while name_of(node.target) in VIEWS and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node

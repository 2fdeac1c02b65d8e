"""What is a factor twice along one path of backward, with a function between that turns.

NOTE: Twice along one path
The gradient of ``beta`` in ``h * sigmoid(beta * h)`` is a product of two readings of ``h``, one before the slope of the
sigmoid and one after it. Both are decoded from the same codes, so the product is too large by the variance of their
rounding, and the slope picks the elements that are small, beside which that is large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from torch.autograd.graph import Node

OTHERS = {
    "AddcmulBackward0": {"tensor1": ("tensor2", 2), "tensor2": ("tensor1", 1)},
    "DivBackward0": {"self": ("other", 1)},
    "MulBackward0": {"other": ("self", 0), "self": ("other", 1)},
}
"""Products of elements: the factors in their slots, the slot of the other, and its place among the arguments."""
_TURNS = {
    "AsinhBackward0": 0.7,
    "AtanBackward0": 0.7,
    "CeluBackward0": 1.0,
    "CosBackward0": 1.0,
    "EluBackward0": 1.0,
    "ErfBackward0": 0.7,
    "ErfcBackward0": 0.7,
    "Exp2Backward0": 1.0,
    "ExpBackward0": 1.0,
    "Expm1Backward0": 1.0,
    "GeluBackward0": 1.0,
    "LogSigmoidBackward0": 1.7,
    "MishBackward0": 1.5,
    "SigmoidBackward0": 1.7,
    "SiluBackward0": 1.7,
    "SinBackward0": 1.0,
    "SoftplusBackward0": 1.7,
    "TanhBackward0": 0.85,
}
"""Functions of each element, and within which distance each turns."""


def _numbered(text: str) -> frozenset[str]:
    return frozenset(f"{name}Backward{number}" for name in text.split() for number in range(5))


_ALIKE = _numbered("""
    Add Alias Clone Expand Neg Permute Pow Reciprocal ReshapeAlias Rsub Squeeze Sub T ToCopy Transpose UnsafeView
    Unsqueeze View
""")
_ELEMENTS = _ALIKE | _numbered("""
    Abs Clamp ClampMax ClampMin Hardsigmoid Hardtanh LeakyRelu Log Log10 Log1P Log2 MaskedFill Maximum Minimum Relu
    Rsqrt Sqrt Where
""")
"""What is done to each element by itself, products aside."""
_LEAF = "torch::autograd::AccumulateGrad"
_FARTHEST = 32
"""Nodes that are looked at."""


class Step(NamedTuple):
    """A product on the way.

    Attributes:
        node: Its node.
        slot: The slot of the factor that may be the same again.
        turn: Within which distance the nearest function after it turns.
        factors: The nodes and slots of what its result is multiplied by before that.
    """

    node: Node
    slot: str
    turn: float
    factors: tuple[tuple[Node, str], ...]


def may_be_again(node: Node, slot: str) -> Iterator[Step]:
    """The products behind a factor of a product that lie before a function that turns.

    Args:
        node: The node of the product.
        slot: The slot of the factor that may be one of theirs as well.
    """
    known = OTHERS.get(node.name())
    if known is None or slot not in known:
        return
    _, place = known[slot]
    coming: list[tuple[Node | None, float, tuple[tuple[Node, str], ...]]]
    coming = [(node.next_functions[place][0] if place < len(node.next_functions) else None, math.inf, ())]
    seen = set[Node]()
    while coming and len(seen) < _FARTHEST:
        at, turn, factors = coming.pop()
        if at is None or at in seen:
            continue
        seen.add(at)
        name = at.name()
        products = OTHERS.get(name)
        if products is not None:
            for own, (other, further) in products.items():
                if turn < math.inf:
                    yield Step(at, own, turn, (*factors, (at, other)))
                coming.append((at.next_functions[further][0], turn, (*factors, (at, own))))
            if name == "DivBackward0":
                coming.append((at.next_functions[0][0], turn, factors))
            if name == "AddcmulBackward0":
                coming.append((at.next_functions[0][0], turn, factors))
        elif name in _TURNS:
            coming.append((at.next_functions[0][0], _TURNS[name], ()))
        elif name in _ELEMENTS:
            coming.extend((earlier, turn, factors) for earlier, _ in at.next_functions)


def is_of_itself(node: Node, slot: str) -> bool:
    """Whether the other factor of a product is made of the same, as in a polynomial, and of nothing else.

    Its gradient is a small part of what that gets anyway.

    Args:
        node: The node of the product.
        slot: The slot of the factor.
    """
    origin, (_, place) = origin_of(node, slot), OTHERS[node.name()][slot]
    coming, seen = [node.next_functions[place]], set[tuple[Node | None, int]]()
    while coming and len(seen) < _FARTHEST:
        edge = coming.pop()
        at = edge[0]
        if at is None or edge in seen or edge == origin:
            continue
        seen.add(edge)
        if at.name() not in _ELEMENTS and at.name() not in _TURNS and at.name() not in OTHERS:
            return False
        coming.extend(at.next_functions)
    return not coming


def origin_of(node: Node, slot: str) -> tuple[Node, int] | None:
    """What a factor of a product was made of, element by element and of nothing else but weights; None if nothing.

    Args:
        node: The node of the product.
        slot: The slot of the factor.
    """
    place = next((at for other, at in OTHERS[node.name()].values() if other == slot), 0)
    edges = node.next_functions
    at, index = edges[place] if place < len(edges) else (None, 0)
    while at is not None:
        edges = tuple(edge for edge in at.next_functions if edge[0] is not None)
        if len(edges) > 1:
            edges = tuple(edge for edge in edges if not _is_weight(edge[0]))
        if len(edges) != 1 or not (at.name() in _ALIKE or at.name() in OTHERS):
            return at, index
        at, index = edges[0]
    return None


def _is_weight(node: Node | None) -> bool:
    """Whether a node stands for a parameter, or a view of one."""
    while node is not None and node.name() in _ALIKE and len(node.next_functions) == 1:
        node = node.next_functions[0][0]
    return node is not None and node.name() == _LEAF

"""Products with exponentials, which other exponentials undo.

NOTE: Decays
Linear attention with decay multiplies queries by ``exp(b)`` and keys by ``exp(-b)``, where b falls along the sequence,
and adds the products of the two. What one makes tiny the other makes huge, so all count alike, whatever their size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch.autograd.graph import Node

from .dividing import size_of
from .steep import is_layer

_NAMES = """
    Alias AsStrided Clone Diagonal Expand Permute ReshapeAlias Select Slice Split SplitWithSizes Squeeze T ToCopy
    Transpose Unbind UnsafeView Unsqueeze View
"""
_SHAPES = frozenset(f"{name}Backward{number}" for name in _NAMES.split() for number in range(5))
_EXPONENTIALS = frozenset({"CumprodBackward0", "Exp2Backward0", "ExpBackward0"})
BOTH = {"BmmBackward0": ("self", "mat2"), "MmBackward0": ("self", "mat2"), "MvBackward0": ("self", "vec")}
"""Products of matrices, and their slots."""
_PLACES = {"self": 0, "other": 1, "mat2": 1, "vec": 1}
_FACTORS = ("self", "other")
_SUMS = frozenset({"AddBackward0", "CumsumBackward0", "SubBackward0", "SumBackward1"})
_SHIFTED = _SHAPES | {"AddBackward0", "ClampMinBackward0", "ClampBackward1"}
"""What is done to a divisor so that it is not zero."""
_FARTHEST = 8
_SMALLER = 8
"""So many times as large as the exponential is what it multiplies, at least: then it may well be exact."""
_DEEPEST = 4
"""Products behind one another that are looked at."""


def is_small_exponential(node: Node, slot: str) -> bool:
    """Whether what a product has saved is an exponential that is small beside what it multiplies.

    Args:
        node: The node that saves it.
        slot: Its slot.
    """
    if node.name() != "MulBackward0" or slot not in _PLACES:
        return False
    place, edges = _PLACES[slot], node.next_functions
    factor, _ = edges[place]
    if factor is None or _made(factor) is None:
        return False
    return math.prod(size_of(*edges[place])) * _SMALLER <= math.prod(size_of(node, 0))


def exponentials_in(node: Node, slot: str) -> Iterator[tuple[Node, str]]:
    """The products that made an argument of a matrix product, and the slots in which they have exponentials.

    Args:
        node: The node of the matrix product.
        slot: The slot of the argument.
    """
    if is_layer(node):
        return
    coming = [(node.next_functions[_PLACES[slot]][0], 0)]
    while coming:
        at, depth = coming.pop()
        while at is not None and at.name() in _SHAPES:
            at = at.next_functions[0][0]
        if at is None or depth == _DEEPEST or at.name() not in ("DivBackward0", "MulBackward0"):
            continue
        edges = at.next_functions
        for place, slot in ((0, "self"), (1, "other")):
            factor = edges[place][0] if place < len(edges) else None
            if factor is None:
                continue
            is_divided = place == 0 and at.name() == "DivBackward0"
            if _made(factor) is not None and not is_divided:
                yield at, slot
            else:
                coming.append((factor, depth + 1))


def undone_in(node: Node) -> Iterator[tuple[str, Node, str]]:
    """What was multiplied with an exponential or divided by one, added, and is multiplied with another one.

    Args:
        node: The node of the last product.

    Yields:
        The slot in which that has its exponential; the node of the product or the quotient further back, and the slot
        in which it has its own, or what it divides by.
    """
    edges = node.next_functions
    if node.name() != "MulBackward0" or len(edges) != len(_FACTORS):
        return
    for place, slot in enumerate(_FACTORS):
        if _made(edges[place][0]) is not None:
            yield from ((slot, *each) for each in _multiplied(edges[1 - place][0]))


def _multiplied(node: Node | None) -> Iterator[tuple[Node, str]]:
    """The products with exponentials and the quotients by such of which sums were taken, and where they have them."""
    coming, seen = [node], 0
    while coming and seen < _FARTHEST:
        at, seen = coming.pop(), seen + 1
        if at is None:
            continue
        edges, name = at.next_functions, at.name()
        if name in _SHAPES or name in _SUMS:
            coming.extend(earlier for earlier, _ in edges)
        elif name == "DivBackward0" and len(edges) > 1 and _made(edges[1][0], _SHIFTED) is not None:
            yield at, "other"
        elif name == "MulBackward0":
            yield from ((at, _FACTORS[at_place]) for at_place, (each, _) in enumerate(edges) if _made(each) is not None)


def _made(node: Node | None, through: frozenset[str] = _SHAPES) -> Node | None:
    """The exponential that a tensor is a view of; None if it is none."""
    while node is not None and node.name() in through:
        node = node.next_functions[0][0]
    return node if node is not None and node.name() in _EXPONENTIALS else None

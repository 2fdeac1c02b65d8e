"""Functions of products with fills: where they are flat, backward multiplies a fill by exactly nothing."""

from __future__ import annotations

from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import is_at_hand
from ..autograd.nodes import held_by
from ..operators.need import Need
from ..operators.steep import ON_THE_WAY, OWN
from ..saved.encoded import Encoded
from ..saved.filled import has_fills
from ..saved.kept import Kept
from ..saved.packed import Packed
from ..saved.save import Save
from .reading import decoded

_PRODUCTS = frozenset({"DivBackward0", "MulBackward0"})
_MASKING = ("Add", "ConstantPad", "IndexFill", "IndexPut", "Masked", "Scatter", "Where")
_FARTHEST = 8


def is_of_fills(node: Node, needed: Need) -> bool:
    """Whether a function has an argument that is a product with masked values, as scores over a temperature are.

    Its slope at the fills is zero, and the gradient of the temperature is that slope times the fills: however little
    of the slope were rounding, it would be all of that. Looked at on a CPU.

    Args:
        node: The node of the function.
        needed: What it needs of what it saves.
    """
    if node.name() not in OWN and not needed.turn and not needed.form:
        return False
    coming, seen = [earlier for earlier, _ in node.next_functions], 0
    while coming and seen < _FARTHEST:
        at, seen = coming.pop(), seen + 1
        if at is None:
            continue
        if at.name() in _PRODUCTS:
            if any(_has_fills(held, at) for held, _ in held_by(at)):
                return True
        elif at.name() not in ON_THE_WAY:
            continue
        coming.extend(earlier for earlier, _ in at.next_functions)
    return False


def _may_be_filled(node: Node) -> bool:
    """Whether a factor of a product was made by an op that masks, or adds a mask."""
    return any(earlier is not None and earlier.name().startswith(_MASKING) for earlier, _ in node.next_functions)


def _has_fills(held: object, node: Node) -> bool:
    """Whether a factor of a product has fills; a code holds them exactly, if it has some."""
    result = held.result if type(held) is Save else held
    if type(result) is Packed:
        if isinstance(result.held, Encoded):
            value = getattr(result.held.code, "aside", None)
        else:
            value = decoded(result) if _may_be_filled(node) else None
    else:
        value = result.tensor if type(result) is Kept else None
    return isinstance(value, Tensor) and value.is_floating_point() and is_at_hand(value) and has_fills(value)

"""What is divided by its own sum, as a softmax that is written out is.

NOTE: What cancels in shares
The gradient of the sum is what all shares are weighed by, times what is divided, added up. What all weights have in
common (an offset of what is averaged) cancels if what was divided still adds to what it was divided by, and rounded it
does not: times the offset, what it lacks is noise. So it is given back its sum when it is decoded.
"""

from __future__ import annotations

from torch.autograd.graph import Node

from ..autograd.nodes import signed

_SUMS = frozenset({"MeanBackward0", "MeanBackward1", "SumBackward0", "SumBackward1"})
_OVER_DIMS = frozenset({"MeanBackward1", "SumBackward1"})
_NAMES = """
    Add Alias Clamp ClampMin Clone Expand ReshapeAlias ToCopy UnsafeView Unsqueeze View
"""
_ON_THE_WAY = frozenset(f"{name}Backward{number}" for name in _NAMES.split() for number in range(5))
_RECIPROCALS = frozenset({"PowBackward0", "ReciprocalBackward0"})
_FACTORS = {"self": 0, "other": 1}
_FARTHEST = 8


def summed_over(node: Node, slot: str) -> tuple[int, ...] | None:
    """The dimensions over which a sum was taken of what a node divides by that sum; () for all, None if it is none.

    Args:
        node: The node that divides, or multiplies with a reciprocal.
        slot: The slot of what is divided.
    """
    name, edges = node.name(), node.next_functions
    is_quotient = name == "DivBackward0"
    if slot not in _FACTORS or len(edges) != len(_FACTORS) or not (is_quotient or name == "MulBackward0"):
        return None
    place = _FACTORS[slot]
    if is_quotient and place:
        return None
    divided, at, inverted = edges[place], edges[1 - place][0], is_quotient
    for _ in range(_FARTHEST):
        if at is None:
            return None
        name = at.name()
        if name in _SUMS:
            return _dims(at) if inverted and at.next_functions[0] == divided else None
        if name in _RECIPROCALS and not inverted:
            inverted = True
        elif name not in _ON_THE_WAY:
            return None
        at = at.next_functions[0][0]
    return None


def _dims(node: Node) -> tuple[int, ...]:
    if node.name() not in _OVER_DIMS:
        return ()
    dims = getattr(node, "_saved_dim", None)
    return tuple(map(signed, dims)) if isinstance(dims, (tuple, list)) else ()

"""What nodes multiply the gradient by, as they read it of what they have saved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from .steep import OWN


def slope(node: Any, slot: str, saved: Tensor) -> Tensor:
    """What a node multiplies the gradient by, as it reads it of what it has saved.

    Args:
        node: A node that multiplies the gradient.
        slot: The slot.
        saved: What it has there, or what that is rounded to.
    """
    name = node.name()
    if name == "SigmoidBackward0":
        return saved * (1 - saved)
    if name == "TanhBackward0":
        return 1 - saved.square()
    if name == "SoftplusBackward0":
        return torch.sigmoid(saved * float(node._saved_beta))
    if name in ("CeluBackward0", "EluBackward0") and not getattr(node, "_saved_is_result", False):
        return saved.clamp(max=0).exp()
    if name == "PowBackward0":
        return saved.pow(float(node._saved_exponent) - 1) * float(node._saved_exponent)
    return saved


def matrix_of(node: Node) -> Tensor | None:
    """The parameter that a layer multiplies with; None where it is none."""
    factor = node.next_functions[-1][0]
    while factor is not None and factor.name() in ("TBackward0", "TransposeBackward0", "PermuteBackward0"):
        factor = factor.next_functions[0][0]
    variable = getattr(factor, "variable", None)
    return variable if isinstance(variable, Tensor) else None


_OTHERS = {"self": "other", "other": "self", "tensor1": "tensor2", "tensor2": "tensor1"}
_SMALL_FOR_SMALL = frozenset({"CeluBackward0", "EluBackward0", "TanhBackward0"})
"""What they give of a small argument is small, though their slope is not."""


def beside(node: Node, slot: str) -> str | None:
    """The slot of what the slope of a node is multiplied by to tell how much of its result is rounding; "" for none.

    None if the slot does not multiply the gradient, or what it is multiplied by is nowhere saved.

    Args:
        node: A node that multiplies the gradient.
        slot: The slot.
    """
    name = node.name()
    if name == "PowBackward0" or name in _SMALL_FOR_SMALL:
        return slot
    if name in OWN or (name == "DivBackward0" and slot == "self"):
        return ""
    other = _OTHERS.get(slot) if name in ("AddcmulBackward0", "MulBackward0") else None
    return other if other is not None and getattr(node, f"_raw_saved_{other}", None) is not None else None

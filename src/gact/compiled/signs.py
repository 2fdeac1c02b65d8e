"""Floats that are -1, 0 or 1: signs of differences and of arguments, which backward reads as a side.

Between the levels of a code there is rounding, and a sign has none: it is held as an integer of two bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from ..operators.aten import VIEWS, name_of
from .joint import Joint
from .plan import Plan
from .values import can_be_coded, is_float, tensor_of

WHY = "sign"
_SIGNS = {"sgn", "sign"}
_SAME = VIEWS | {"neg", "positive"}
_CONVERT = torch.ops.prims.convert_element_type.default
_FAR = 16


def is_sign(node: Any, depth: int = _FAR) -> bool:
    """Whether all elements of a node are -1, 0 or 1.

    Args:
        node: The node, or a number.
        depth: Steps that are looked back.
    """
    if not isinstance(node, fx.Node):
        return node in (-1, 0, 1)
    name, args = name_of(node.target), node.args
    tensor = tensor_of(node)
    if tensor is None or not depth:
        return False
    if tensor.dtype is torch.bool or name in _SIGNS:
        return True
    if name in ("full", "scalar_tensor"):
        return args[-1] in (-1, 0, 1)
    if name in _SAME:
        return is_sign(args[0], depth - 1)
    if name == "mul":
        return all(is_sign(each, depth - 1) for each in args)
    if name in ("masked_fill", "where"):
        mask, taken, other = args if name == "where" else (args[1], args[2], args[0])
        return is_sign(taken, depth - 1) and (is_sign(other, depth - 1) or _is_quotient(other, mask))
    return False


def as_integer(node: fx.Node, joint: Joint, plan: Plan) -> fx.Node | None:
    """The integers that are held in the place of signs, of which they are made again; None if a node is no sign.

    Args:
        node: What backward reads.
        joint: The forward graph, to which the integers are added.
        plan: Where it is noted how signs are made of them.
    """
    tensor = tensor_of(node)
    if tensor is None or not is_float(node) or not can_be_coded(node) or not is_sign(node):
        return None
    integers = joint.add(_CONVERT, (node, torch.int8), {}, node)
    integers.meta = {**node.meta, "val": tensor.to(torch.int8)}
    plan.made[node] = _CONVERT, (integers, tensor.dtype)
    return integers


def _is_quotient(node: Any, mask: Any) -> bool:
    """Whether a number with the sign of another is divided by itself, zeros being taken away: so torch has it."""
    if not isinstance(node, fx.Node) or name_of(node.target) != "div":
        return False
    signed, number = node.args[0], node.args[1]
    while isinstance(signed, fx.Node) and name_of(signed.target) in VIEWS:
        signed = signed.args[0]
    is_signed = isinstance(signed, fx.Node) and name_of(signed.target) == "copysign" and signed.args[0] is number
    return is_signed and isinstance(mask, fx.Node) and name_of(mask.target) == "eq" and mask.args == (number, 0)

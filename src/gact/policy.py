"""Which code a saved tensor gets: what its kind allows, what its consumer needs, which width is left to choose."""

from __future__ import annotations

import torch
from torch import Tensor

from .codecs.groups import DTYPES as FLOATS
from .codecs.integers import DTYPES as INTEGERS
from .codecs.masks import MaskTest
from .needs import VALUE, WIDE, Arguments, Need, need_of
from .records import Settings

BOOL = MaskTest(0.5, 1.5, 0.0, 1.0)
_BOOL_NEED = Need("mask", mask=BOOL)
_INTEGER_NEED = Need("integers")


def refusal(tensor: Tensor) -> str:
    """Why the kind of this tensor cannot be compressed: its class, layout, device or dtype; "" if it can."""
    if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter:
        return f"subclass {type(tensor).__name__}"
    if tensor.layout is not torch.strided:
        return str(tensor.layout).removeprefix("torch.")
    if tensor.is_nested:
        return "nested"
    if tensor.is_meta:
        return "meta device"
    dtype = tensor.dtype
    if dtype in FLOATS or dtype in INTEGERS or dtype is torch.bool:
        return ""
    return "complex" if dtype.is_complex else str(dtype).removeprefix("torch.")


def need(op: str, tensor: Tensor, arguments: Arguments) -> Need:
    """What must survive of a saved tensor, given its dtype and its consumer.

    Args:
        op: Name of the op that is saving.
        tensor: The tensor, of a kind that ``refusal`` lets pass.
        arguments: Positional and keyword arguments of the op.
    """
    dtype = tensor.dtype
    if dtype is torch.bool:
        return _BOOL_NEED
    if dtype in INTEGERS:
        return _INTEGER_NEED
    needed = need_of(op, tensor, arguments)
    # Data that no op made feeds the first layer, whose weight gradient has nothing but it, and often had 8 bits from the
    # start (pixels): at 4 bits the images alone made three quarters of ResNet-50's gradient noise.
    return WIDE if needed is VALUE and tensor.is_leaf else needed


def width(settings: Settings, needed: Need) -> int:
    """Width of a value's code."""
    return max(int(settings.bits), needed.least_bits)

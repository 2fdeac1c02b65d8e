"""Which code a saved tensor gets."""

from __future__ import annotations

import torch
from torch import Tensor

from .codecs.groups import DTYPES
from .records import Decision, Settings

_KINDS = {torch.bool: "mask", torch.complex64: "complex", torch.complex128: "complex", torch.complex32: "complex"}


def refusal(tensor: Tensor) -> str:
    """Why the kind of this tensor cannot be compressed: its class, layout, device or dtype; "" if it can."""
    if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter:
        return f"subclass {type(tensor).__name__}"
    if tensor.layout is not torch.strided:
        return str(tensor.layout).removeprefix("torch.")
    if tensor.is_nested:
        return "nested"
    if tensor.device.type == "meta":
        return "meta device"
    dtype = tensor.dtype
    if dtype in DTYPES:
        return ""
    if dtype in _KINDS:
        return _KINDS[dtype]
    if tensor.is_quantized or dtype.is_floating_point:
        return f"low precision ({str(dtype).removeprefix('torch.')})"
    return "integer"


def decide(settings: Settings) -> Decision:
    """The code of an activation: groups of uniform width."""
    return Decision("groups", int(settings.bits))

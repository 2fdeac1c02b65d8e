"""Our operators as calls without arguments: the one place that knows their signatures."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from gact.ops import arena, checks

ROUNDINGS = ("stochastic", "dithered", "nearest")
GROUP_SIZE = 256

Code = tuple[Tensor, Tensor]


def quantizer(x: Tensor, bits: int, rounding: str = "stochastic") -> Callable[[], Code]:
    """Quantizes ``x``, whenever it is called, into fresh memory."""
    op = torch.ops.gact.quantize.default
    number = checks.ROUNDINGS.index(rounding)
    return lambda: op(x, bits, GROUP_SIZE, 0, number)


def dequantizer(code: Code, x: Tensor, bits: int) -> Callable[[], Tensor]:
    """Dequantizes the code of ``x`` into fresh memory."""
    op = torch.ops.gact.dequantize.default
    codes, metadata = code
    size, stride, dtype = list(x.shape), list(x.stride()), x.dtype
    return lambda: op(codes, metadata, bits, GROUP_SIZE, size, stride, dtype)


def dequantizer_into(out: Tensor, code: Code, bits: int) -> Callable[[], None]:
    """Dequantizes a code into ``out``."""
    op = torch.ops.gact.dequantize_into.default
    codes, metadata = code
    return lambda: op(out, codes, metadata, bits, GROUP_SIZE)


def nbytes(code: Code) -> int:
    """Bytes of a code, metadata included."""
    return sum(part.nbytes for part in code)


def arena_config() -> dict[str, int]:
    """How much memory of codes is kept, if that is not the usual: a configuration of its own."""
    text = os.environ.get(arena.ENVIRONMENT, "")
    return {"arena_mib": int(text)} if text else {}

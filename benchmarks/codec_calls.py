"""Our operators as calls without arguments: the one place that knows their signatures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

import gact
from gact.memory.allocator import ENVIRONMENT
from gact.ops import checks

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


def allocator_config() -> dict[str, str]:
    """That codes lie in fresh memory, if the environment asks for it: a configuration of its own."""
    return {"allocator": "off"} if os.environ.get(ENVIRONMENT) == "0" else {}


@contextmanager
def memory_used_again() -> Iterator[None]:
    """Codes lie in memory of codes before, as in a training step, unless the environment says otherwise."""
    if allocator_config():
        yield
        return
    gact.use_allocator()
    try:
        yield
    finally:
        gact.use_allocator(False)

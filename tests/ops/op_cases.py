"""Tensors for the tests of the operators, as data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
WIDTHS = range(1, 9)
INTEGER = {2: torch.int16, 4: torch.int32, 8: torch.int64, 1: torch.uint8}

SPECIALS = {
    "zeros": [0.0],
    "negative zero": [-0.0, 0.0, 1.0],
    "only negative zero": [-0.0],
    "constant": [math.pi],
    "constant, huge": [3e38],
    "nan": [math.nan, 1.0, 2.0],
    "infinite": [math.inf, 1.0, -2.0],
    "constant, infinite": [-math.inf],
    "poisoned by magnitude": [2.0**100, 1.0],
    "just below the limit": [2.0**100 * (1 - 2.0**-8), -(2.0**99)],
    "subnormal": [1e-40, -2e-42, 3e-41],
    "subnormal half": [6e-8, 3e-6, -1e-7],
    "largest half": [65504.0, -65504.0, 1.0],
    "beyond bfloat16 steps": [1000.0, 1000.0625, 1000.125],
    "tiny range": [1.0, 1.0 + 2.0**-23],
    "mixed scales": [1e-30, 1e20, -1e10],
}


def random(numel: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(numel, dtype=torch.float64, generator=generator) * 3 + 1).to(dtype)


def special(values: list[float], numel: int, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).repeat(-(-numel // len(values)))[:numel].to(dtype)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal bit for bit, where any two NaN count as equal."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    integer = INTEGER[a.element_size()]
    equal = a.view(integer) == b.view(integer)
    if a.dtype.is_floating_point:
        equal |= a.isnan() & b.isnan()
    return bool(equal.all())

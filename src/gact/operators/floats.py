"""Numbers of the float dtypes as Python floats: rounding and neighbours, without a tensor.

Needs are chosen inside hooks, where a mode may turn any new tensor into a fake one.
"""

from __future__ import annotations

import math
import struct

import torch

_FORM = {torch.float16: "<e", torch.bfloat16: "<f", torch.float32: "<f", torch.float64: "<d"}
_INTEGER = {"<e": "<h", "<f": "<i", "<d": "<q"}
DTYPES = frozenset(_FORM)


def _pattern(value: float, form: str) -> int:
    return int(struct.unpack(_INTEGER[form], struct.pack(form, value))[0])


def _number(pattern: int, form: str) -> float:
    return float(struct.unpack(form, struct.pack(_INTEGER[form], pattern))[0])


def rounded(value: float, dtype: torch.dtype) -> float:
    """The number of a dtype nearest to a value, by way of float32 for the halves, as torch rounds scalars."""
    if dtype is torch.float64 or not math.isfinite(value):
        return value
    try:
        single = _number(_pattern(value, "<f"), "<f")
        if dtype is torch.float16:
            return _number(_pattern(single, "<e"), "<e")
    except OverflowError:
        return math.copysign(math.inf, value)
    if dtype is torch.bfloat16:
        # To the nearest, ties to even: the patterns of one sign are ordered like their magnitudes.
        pattern = _pattern(abs(single), "<f")
        return math.copysign(_number((pattern + 0x7FFF + (pattern >> 16 & 1)) & ~0xFFFF, "<f"), single)
    return single


def next_above(value: float, dtype: torch.dtype) -> float:
    """The least number of a dtype above one of its numbers; ``inf`` for the greatest and for ``inf``."""
    if value == math.inf:
        return value
    form = _FORM[dtype]
    unit = 1 << 16 if dtype is torch.bfloat16 else 1
    if value == 0:
        return _number(unit, form)
    pattern = _pattern(value, form)
    return _number(pattern + (unit if value > 0 else -unit), form)


def next_below(value: float, dtype: torch.dtype) -> float:
    """The greatest number of a dtype below one of its numbers."""
    return -next_above(-value, dtype)


def least_above(bound: float, dtype: torch.dtype, or_at: bool) -> float:
    """The least number of a dtype above a real bound, or at it.

    Args:
        bound: Any real number or infinity.
        dtype: A float dtype.
        or_at: Whether the bound itself counts, if the dtype has it.
    """
    near = rounded(bound, dtype)
    return next_above(near, dtype) if near < bound or (near == bound and not or_at) else near


def greatest_below(bound: float, dtype: torch.dtype, or_at: bool) -> float:
    """The greatest number of a dtype below a real bound, or at it.

    Args:
        bound: Any real number or infinity.
        dtype: A float dtype.
        or_at: Whether the bound itself counts, if the dtype has it.
    """
    return -least_above(-bound, dtype, or_at)

"""Minimum and scale of groups, and the three kinds of group. See ``docs/codes.md``, "Groups".

A field is half as wide as the arithmetic: bfloat16 for float32, float32 for float64. Fields are rounded with integers,
so that no compiler or architecture has a say in it.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from .elements import divide


@triton.jit
def field_down(real: tl.tensor) -> tl.tensor:
    """The bits of the field next below, uint32."""
    if real.dtype == tl.float64:
        field = real.to(tl.float32)
        bits = field.to(tl.uint32, bitcast=True)
        below = tl.where((bits >> 31) == 0, bits - 1, bits + 1)
        return tl.where(field.to(tl.float64) > real, below, bits)
    else:
        bits = real.to(tl.uint32, bitcast=True)
        inexact = (bits & 0xFFFF) != 0
        return (bits >> 16) + (((bits >> 31) != 0) & inexact).to(tl.uint32)


@triton.jit
def field_up(real: tl.tensor) -> tl.tensor:
    """The bits of the field next above, uint32."""
    HALF: tl.constexpr = 0x80000000 if real.dtype == tl.float64 else 0x8000
    return field_down(-real) ^ HALF


@triton.jit
def field_value(bits: tl.tensor, WIDE: tl.constexpr) -> tl.tensor:
    """The number that the bits of a field mean, in the arithmetic's dtype."""
    if WIDE:
        return bits.to(tl.float32, bitcast=True).to(tl.float64)
    else:
        return (bits << 16).to(tl.float32, bitcast=True)


@triton.jit
def negative(bits: tl.tensor, WIDE: tl.constexpr) -> tl.tensor:
    """The bits of a positive field with the sign turned."""
    return bits | (0x80000000 if WIDE else 0x8000)


@triton.jit
def group_fields(low: tl.tensor, high: tl.tensor, BITS: tl.constexpr) -> tl.tuple:
    """Bits of minimum and scale, and whether a group is constant and ordinary, from its minimum and maximum.

    Where a group holds NaN, ``low`` must be -inf and ``high`` inf.
    """
    WIDE: tl.constexpr = low.dtype == tl.float64
    low = tl.where(low == 0, tl.zeros_like(low), low)
    high = tl.where(high == 0, tl.zeros_like(high), high)
    finite = (low > float("-inf")) & (high < float("inf"))
    constant = finite & (low == high)
    # The largest power of two is a float32 and a float64.
    ordinary = (low > -(2.0**100)) & (high < 2.0**100) & (low != high)
    minimum = field_down(low)
    extent = high - field_value(minimum, WIDE)
    scale = field_up(divide(extent, tl.full(extent.shape, 2**BITS - 1, extent.dtype)))
    SMALLEST: tl.constexpr = 0x0D800000 if WIDE else 0x0D80
    scale = tl.where(ordinary, tl.maximum(scale, SMALLEST), 0)
    NAN: tl.constexpr = 0x7FC00000 if WIDE else 0x7FC0
    poisoned = (ordinary | constant) == 0
    value = value_bits(low)
    minimum = tl.where(constant, (value >> (32 if WIDE else 16)).to(tl.uint32), tl.where(poisoned, NAN, minimum))
    scale = tl.where(poisoned, NAN, scale)
    rest = tl.where(constant, value.to(tl.uint32) if WIDE else value & 0xFFFF, 0)
    return minimum, scale, rest, ordinary


@triton.jit
def value_bits(real: tl.tensor) -> tl.tensor:
    """The bits of a number, unsigned of its width."""
    if real.dtype == tl.float64:
        return real.to(tl.uint64, bitcast=True)
    else:
        return real.to(tl.uint32, bitcast=True)


@triton.jit
def store_fields(ptr: tl.tensor, group: tl.tensor, minimum: tl.tensor, scale: tl.tensor, mask: tl.tensor) -> None:
    """Write both fields of each group at once; ``ptr`` is to int32, or int64 for wide fields."""
    if ptr.dtype.element_ty == tl.int64:
        pair = (scale.to(tl.uint64) << 32 | minimum).to(tl.int64, bitcast=True)
    else:
        pair = (scale << 16 | minimum).to(tl.int32, bitcast=True)
    tl.store(ptr + group, pair, mask=mask)


@triton.jit
def load_fields(ptr: tl.tensor, group: tl.tensor) -> tl.tuple:
    """Bits of minimum and scale of each group, uint32."""
    pair = tl.load(ptr + group)
    if ptr.dtype.element_ty == tl.int64:
        both = pair.to(tl.uint64, bitcast=True)
        return both.to(tl.uint32), (both >> 32).to(tl.uint32)
    else:
        word = pair.to(tl.uint32, bitcast=True)
        return word & 0xFFFF, word >> 16


@triton.jit
def join_value(minimum: tl.tensor, first: tl.tensor, WIDE: tl.constexpr) -> tl.tensor:
    """The value of constant groups: upper half from the minimum field, lower half from the first code bytes."""
    if WIDE:
        return (minimum.to(tl.uint64) << 32 | first).to(tl.float64, bitcast=True)
    else:
        return (minimum << 16 | first).to(tl.float32, bitcast=True)

"""Elements of each dtype in the dtype of the arithmetic, and back.

bfloat16 travels as int16: its bits are the upper half of a float32, and rounding with integers is the same on every
architecture, those without bfloat16 instructions included.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def to_real(x: tl.tensor) -> tl.tensor:
    """float32 of float32, float16 and the int16 that stands for bfloat16; float64 of float64."""
    if x.dtype == tl.int16:
        return (x.to(tl.int32) << 16).to(tl.float32, bitcast=True)
    elif x.dtype == tl.float64:
        return x
    else:
        return x.to(tl.float32)


@triton.jit
def from_real(real: tl.tensor, dtype: tl.constexpr) -> tl.tensor:
    """Rounded to nearest even; float64 becomes a half by way of float32."""
    if dtype == tl.int16:
        single = real.to(tl.float32)
        bits = single.to(tl.uint32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return tl.where(single == single, rounded, 0x7FC0).to(tl.int16)
    elif dtype == tl.float16:
        return real.to(tl.float32).to(tl.float16)
    else:
        return real.to(dtype)


@triton.jit
def round_half_even(real: tl.tensor, LARGEST: tl.constexpr) -> tl.tensor:
    """A number clamped to 0 .. LARGEST < 2^23 and rounded to a whole one, uint32.

    Adding 2^23 (2^52 in float64) leaves the whole number in the lowest bits of the sum, rounded as additions round.
    """
    real = tl.minimum(tl.maximum(real, 0.0), LARGEST)
    if real.dtype == tl.float64:
        return (real + 4503599627370496.0).to(tl.uint64, bitcast=True).to(tl.uint32)
    else:
        return (real + 8388608.0).to(tl.uint32, bitcast=True) & 0x7FFFFF


@triton.jit
def divide(x: tl.tensor, y: tl.tensor) -> tl.tensor:
    """Quotient, correctly rounded; the plain operator is so in float64 only."""
    if x.dtype == tl.float64:
        return x / y
    else:
        return tl.div_rn(x, y)

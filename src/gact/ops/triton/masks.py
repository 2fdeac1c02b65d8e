"""Kernels of masks: one bit per element in groups of 256. See ``docs/codes.md``, "Masks".

Numbers that come with a mask are already rounded to the dtype of the elements. They travel as the bits of a float64,
since Triton makes a float32 of a Python float.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from .elements import from_real, to_real
from .tiles import existing, locate


@triton.jit
def number(bits: tl.int64, dtype: tl.constexpr) -> tl.tensor:
    """The number that a kernel was given, in a dtype of the arithmetic."""
    return bits.to(tl.uint64).to(tl.float64, bitcast=True).to(dtype)


@triton.jit(do_not_specialize=["groups", "length", "low", "high"])
def encode_mask_kernel(
    x_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    groups: tl.int64,
    length: tl.int64,
    low: tl.int64,
    high: tl.int64,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    TAIL: tl.constexpr,
) -> None:
    """Whether ``low < x < high``, a bit for each element of ``ROWS`` groups.

    Args:
        x_ptr: Elements; bfloat16 as int16, bool as uint8.
        codes_ptr: Where the bits go, uint8.
        groups: Number of full groups.
        length: Elements of the short last group; unused without ``TAIL``.
        low: Bound below.
        high: Bound above.
        GROUP: Elements per group.
        ROWS: Groups of a program.
        TAIL: Encode the short last group, in a single program, instead of the full ones.
    """
    k = tl.arange(0, GROUP // 8)[None, :]
    group, source, there, eighth = locate(groups, length, GROUP, ROWS, TAIL)
    base = x_ptr + source[:, None] * GROUP
    packed = tl.zeros([ROWS, GROUP // 8], tl.uint32)
    for s in tl.static_range(8):
        j = s * eighth + k
        real = to_real(tl.load(base + existing(j, length, TAIL)))
        between = (real > number(low, real.dtype)) & (real < number(high, real.dtype))
        if TAIL:
            between = between & (j < length)
        packed |= between.to(tl.uint32) << s
    mask = there[:, None] & (k < eighth) if TAIL else there[:, None]
    tl.store(codes_ptr + group[:, None] * (GROUP // 8) + k, packed.to(tl.uint8), mask=mask)


@triton.jit(do_not_specialize=["groups", "length", "off", "on"])
def decode_mask_kernel(
    out_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    groups: tl.int64,
    length: tl.int64,
    off: tl.int64,
    on: tl.int64,
    APPLY: tl.constexpr,
    ERASE: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    TAIL: tl.constexpr,
) -> None:
    """One of two numbers for each element of ``ROWS`` groups, or the element times that number.

    Args:
        out_ptr: Where the elements go, and with ``APPLY`` where they come from; bfloat16 as int16, bool as uint8.
        codes_ptr: The bits, uint8.
        groups: Number of full groups.
        length: Elements of the short last group; unused without ``TAIL``.
        off: Number of a bit that is 0.
        on: Number of a bit that is 1.
        APPLY: Multiply.
        ERASE: A bit that is 0 gives +0, whatever the element was.
        GROUP: Elements per group.
        ROWS: Groups of a program.
        TAIL: Decode the short last group, in a single program, instead of the full ones.
    """
    k = tl.arange(0, GROUP // 8)[None, :]
    group, source, there, eighth = locate(groups, length, GROUP, ROWS, TAIL)
    bits = tl.load(codes_ptr + source[:, None] * (GROUP // 8) + existing(k, eighth, TAIL)).to(tl.uint32)
    to = out_ptr + group[:, None] * GROUP + k
    dtype: tl.constexpr = out_ptr.dtype.element_ty
    REAL: tl.constexpr = tl.float64 if dtype == tl.float64 else tl.float32
    for s in tl.static_range(8):
        mask = there[:, None]
        if TAIL:
            mask = mask & (k < eighth) & (s * eighth + k < length)
        set_bit = (bits >> s & 1) != 0
        real = tl.where(set_bit, number(on, REAL), number(off, REAL))
        if APPLY:
            real = to_real(tl.load(to + s * eighth, mask=mask, other=0)) * real
        if ERASE:
            real = tl.where(set_bit, real, 0.0)
        tl.store(to + s * eighth, from_real(real, dtype), mask=mask)

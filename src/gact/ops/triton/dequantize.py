"""Kernel of ``dequantize`` and ``dequantize_into``."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from .elements import from_real
from .fields import field_value, join_value, load_fields
from .random import group_key, shared_bits
from .tiles import append, existing, locate, unpack_section


@triton.jit
def group_line(metadata_ptr: tl.tensor, codes_ptr: tl.tensor, group: tl.tensor, GROUP_BYTES: tl.constexpr) -> tl.tuple:
    """Value of code 0 and scale of each group.

    A constant group has the scale 0, and as value of code 0 the whole value.
    """
    WIDE: tl.constexpr = metadata_ptr.dtype.element_ty == tl.int64
    minimum, scale = load_fields(metadata_ptr, group)
    # The first bytes mean something in constant groups only; every group has them.
    to = codes_ptr + group * GROUP_BYTES
    first = tl.load(to).to(tl.uint32) | tl.load(to + 1).to(tl.uint32) << 8
    if WIDE:
        first |= tl.load(to + 2).to(tl.uint32) << 16 | tl.load(to + 3).to(tl.uint32) << 24
    step = field_value(scale, WIDE)
    return tl.where(step == 0, join_value(minimum, first, WIDE), field_value(minimum, WIDE)), step


@triton.jit
def load_runs(base: tl.tensor, eighth: tl.tensor, BITS: tl.constexpr) -> tl.tuple:
    """The bytes of all runs of each group, uint32."""
    runs = ()
    for run in tl.static_range(BITS):
        runs = append(runs, tl.load(base + run * eighth).to(tl.uint32))
    return runs


@triton.jit
def decoded_section(
    runs: tl.tuple,
    s: tl.constexpr,
    minimum: tl.tensor,
    scale: tl.tensor,
    key: tl.tensor,
    k: tl.tensor,
    eighth: tl.tensor,
    BITS: tl.constexpr,
    TAIL: tl.constexpr,
    HALF: tl.constexpr,
) -> tl.tensor:
    """Elements of an eighth of each group: minimum + code * scale, or what dither makes of it.

    Args:
        runs: The bytes of each group.
        s: Which eighth.
        minimum: Value of code 0 of each group.
        scale: Scale of each group, negative if it is dithered.
        key: Of the random stream of each group.
        k: Places in the eighth.
        eighth: Elements of an eighth.
        BITS: Width of a code.
        TAIL: Whether this is the short last group.
        HALF: Whether elements are float16, whose largest magnitude is 65504.
    """
    # In eighths of the scale, in which the products of dithered groups and of the others are exact alike.
    eighths = (tl.abs(scale) * 0.125)[:, None]
    steps = (unpack_section(runs, s, BITS) << 3).to(tl.int32)
    shift = 3 - 2 * shared_bits(key, s, k, eighth, TAIL).to(tl.int32)
    steps += tl.where((scale < 0)[:, None], shift, 0)
    real = minimum[:, None] + steps.to(minimum.dtype) * eighths
    if HALF:
        real = tl.clamp(real, -65504.0, 65504.0, propagate_nan=tl.PropagateNan.ALL)
    return real


@triton.jit(do_not_specialize=["groups", "length", "seed"])
def dequantize_kernel(
    out_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    metadata_ptr: tl.tensor,
    groups: tl.int64,
    length: tl.int64,
    seed: tl.int64,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    TAIL: tl.constexpr,
) -> None:
    """Dequantize ``ROWS`` groups: x' = minimum + code * scale, or what dither makes of it.

    Args:
        out_ptr: Where the elements go; bfloat16 as int16.
        codes_ptr: Codes, uint8.
        metadata_ptr: Minimum and scale, a pair as one int32, or one int64 for codes of float64 elements.
        groups: Number of full groups.
        length: Elements of the short last group; unused without ``TAIL``.
        seed: Key of the random stream, of which dithered groups were given two bits per element.
        BITS: Width of a code.
        GROUP: Elements per group.
        ROWS: Groups of a program.
        TAIL: Dequantize the short last group, in a single program, instead of the full ones.
    """
    k = tl.arange(0, GROUP // 8)[None, :]
    group, source, there, eighth = locate(groups, length, GROUP, ROWS, TAIL)
    minimum, scale = group_line(metadata_ptr, codes_ptr, source, GROUP // 8 * BITS)
    base = codes_ptr + source[:, None] * (GROUP // 8 * BITS) + existing(k, eighth, TAIL)
    runs = load_runs(base, eighth, BITS)
    key = group_key(seed, source)[:, None]
    to = out_ptr + group[:, None] * GROUP + k
    dtype: tl.constexpr = out_ptr.dtype.element_ty
    for s in tl.static_range(8):
        real = decoded_section(runs, s, minimum, scale, key, k, eighth, BITS, TAIL, dtype == tl.float16)
        mask = there[:, None]
        if TAIL:
            mask = mask & (k < eighth) & (s * eighth + k < length)
        tl.store(to + s * eighth, from_real(real, dtype), mask=mask)

"""Kernels of ``quantize``: minimum, maximum, rounding and packing in one pass over the elements."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from .elements import divide, round_half_even, to_real
from .fields import field_value, group_fields, store_fields
from .random import group_key, hash_pair
from .tiles import existing, locate, pack_run


@triton.jit
def extremes(reals: tl.tuple) -> tl.tuple:
    """Minimum and maximum of each group as columns; infinite both where a group holds NaN."""
    low = reals[0]
    high = reals[0]
    for s in tl.static_range(1, 8):
        low = tl.minimum(low, reals[s], propagate_nan=tl.PropagateNan.ALL)
        high = tl.maximum(high, reals[s], propagate_nan=tl.PropagateNan.ALL)
    low = tl.min(tl.where(low == low, low, float("-inf")), axis=1)
    high = tl.max(tl.where(high == high, high, float("inf")), axis=1)
    return low, high


@triton.jit
def offset(key: tl.tensor, j: tl.tensor, ROUNDING: tl.constexpr, GROUP: tl.constexpr) -> tl.tensor:
    """What is added to any element j of a group before its fraction is cut off."""
    if ROUNDING == "stochastic":
        h = hash_pair(key, j % (GROUP // 2))
        return tl.where(j < GROUP // 2, h & 0x7FFF, h >> 17)
    else:
        return tl.full(j.shape, 16384, tl.uint32)


@triton.jit
def offsets(
    key: tl.tensor, k: tl.tensor, eighth: tl.tensor, ROUNDING: tl.constexpr, GROUP: tl.constexpr, TAIL: tl.constexpr
) -> tl.tuple:
    """The same for the eight sections. In full groups the sections s and s + 4 share their hashes."""
    lower = ()
    upper = ()
    for s in tl.static_range(4):
        if TAIL or ROUNDING == "nearest":
            lower = lower + (offset(key, s * eighth + k, ROUNDING, GROUP),)
            upper = upper + (offset(key, (s + 4) * eighth + k, ROUNDING, GROUP),)
        else:
            h = hash_pair(key, s * eighth + k)
            lower = lower + (h & 0x7FFF,)
            upper = upper + (h >> 17,)
    return lower + upper


@triton.jit
def round_group(
    real: tl.tensor, r: tl.tensor, minimum: tl.tensor, inverse: tl.tensor, LEVELS: tl.constexpr
) -> tl.tensor:
    """Codes of a section, uint32; ``inverse`` is 2^15 / scale, and the power of two changes no rounding."""
    return (round_half_even((real - minimum) * inverse, 32768.0 * LEVELS) + r) >> 15


@triton.jit(do_not_specialize=["groups", "length", "seed"])
def quantize_kernel(
    x_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    metadata_ptr: tl.tensor,
    groups: tl.int64,
    length: tl.int64,
    seed: tl.int64,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    ROUNDING: tl.constexpr,
    ROWS: tl.constexpr,
    TAIL: tl.constexpr,
) -> None:
    """Quantize ``ROWS`` groups.

    Args:
        x_ptr: Elements; bfloat16 as int16.
        codes_ptr: Where the codes go, uint8.
        metadata_ptr: Where minimum and scale go, a pair as one int32, or one int64 for float64 elements.
        groups: Number of full groups.
        length: Elements of the short last group; unused without ``TAIL``.
        seed: Key of the random stream.
        BITS: Width of a code.
        GROUP: Elements per group.
        ROUNDING: "nearest" or "stochastic".
        ROWS: Groups of a program.
        TAIL: Quantize the short last group, in a single program, instead of the full ones.
    """
    k = tl.arange(0, GROUP // 8)[None, :]
    group, source, there, eighth = locate(groups, length, GROUP, ROWS, TAIL)
    base = x_ptr + source[:, None] * GROUP
    reals = ()
    for s in tl.static_range(8):
        reals = reals + (to_real(tl.load(base + existing(s * eighth + k, length, TAIL))),)
    low, high = extremes(reals)
    minimum, scale, rest, ordinary = group_fields(low, high, BITS)
    store_fields(metadata_ptr, group, minimum, scale, there)
    WIDE: tl.constexpr = reals[0].dtype == tl.float64
    line = field_value(minimum, WIDE)[:, None]
    step = field_value(scale, WIDE)
    inverse = (divide(tl.full(step.shape, 1.0, step.dtype), step) * 32768.0)[:, None]
    r = offsets(group_key(seed, group)[:, None], k, eighth, ROUNDING, GROUP, TAIL)
    codes = ()
    for s in tl.static_range(8):
        code = round_group(reals[s], r[s], line, inverse, 2**BITS - 1)
        if TAIL:
            code = tl.where(s * eighth + k < length, code, 0)
        codes = codes + (code,)
    # Constant groups keep the lower half of their value in the first bytes of the first run; all other bytes are 0.
    REST: tl.constexpr = 4 if WIDE else 2
    first = tl.where(k < REST, (rest[:, None] >> (8 * tl.minimum(k, REST - 1)).to(tl.uint32)) & 0xFF, 0)
    to = codes_ptr + group[:, None] * (GROUP // 8 * BITS) + k
    mask = there[:, None] & (k < eighth) if TAIL else there[:, None]
    for run in tl.static_range(BITS):
        packed = pack_run(codes, run, BITS)
        if run == 0:
            packed = tl.where(ordinary[:, None], packed, first)
        else:
            packed = tl.where(ordinary[:, None], packed, 0)
        tl.store(to + run * eighth, packed.to(tl.uint8), mask=mask)

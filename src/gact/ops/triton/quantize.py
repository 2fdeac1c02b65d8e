"""Kernels of ``quantize``: minimum, maximum, rounding and packing in one pass over the elements."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from .elements import divide, round_half_even, to_real
from .fields import field_value, group_fields, store_fields
from .random import group_key, hash_pair
from .tiles import pack_run, places


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
def offset_pair(
    key: tl.tensor, j: tl.tensor, ROUNDING: tl.constexpr, GROUP: tl.constexpr, TAIL: tl.constexpr
) -> tl.tuple:
    """What is added before cutting off the fraction, for the elements j and, unless in a short group, j + GROUP / 2."""
    if ROUNDING == "nearest":
        return 16384, 16384
    if TAIL:
        h = hash_pair(key, j % (GROUP // 2))
        r = tl.where(j < GROUP // 2, h & 0x7FFF, h >> 17)
        return r, r
    h = hash_pair(key, j)
    return h & 0x7FFF, h >> 17


@triton.jit
def round_groups(
    reals: tl.tuple,
    fields: tl.tuple,
    key: tl.tensor,
    k: tl.tensor,
    eighth: tl.tensor,
    length: tl.tensor,
    BITS: tl.constexpr,
    ROUNDING: tl.constexpr,
    GROUP: tl.constexpr,
    TAIL: tl.constexpr,
) -> tl.tuple:
    """Codes of the eight sections, uint32; missing elements of a short group have code 0."""
    WIDE: tl.constexpr = reals[0].dtype == tl.float64
    minimum = field_value(fields[0], WIDE)[:, None]
    scale = field_value(fields[1], WIDE)
    # A power of two changes no rounding: this is (x - minimum) * (1 / scale) * 2^15.
    inverse = (divide(tl.full(scale.shape, 1.0, scale.dtype), scale) * 32768.0)[:, None]
    lower = ()
    upper = ()
    for s in tl.static_range(4):
        r, r_upper = offset_pair(key, s * eighth + k, ROUNDING, GROUP, TAIL)
        if TAIL:
            r_upper = offset_pair(key, (s + 4) * eighth + k, ROUNDING, GROUP, TAIL)[0]
        t = round_half_even((reals[s] - minimum) * inverse, 32768.0 * (2**BITS - 1))
        t_upper = round_half_even((reals[s + 4] - minimum) * inverse, 32768.0 * (2**BITS - 1))
        code = (t + r) >> 15
        code_upper = (t_upper + r_upper) >> 15
        if TAIL:
            code = tl.where(s * eighth + k < length, code, 0)
            code_upper = tl.where((s + 4) * eighth + k < length, code_upper, 0)
        lower = lower + (code,)
        upper = upper + (code_upper,)
    return lower + upper


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
    if TAIL:
        group = groups.to(tl.int64) + tl.arange(0, ROWS)
        there = group == groups
        source = tl.minimum(group, groups.to(tl.int64))
        eighth = ((length + 31) // 32 * 4).to(tl.int32)
        length = length.to(tl.int32)
    else:
        group = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        there = group < groups
        source = tl.minimum(group, groups.to(tl.int64) - 1)
        eighth: tl.constexpr = GROUP // 8
    base = x_ptr + source[:, None] * GROUP
    reals = ()
    for s in tl.static_range(8):
        reals = reals + (to_real(tl.load(base + places(s, k, eighth, length, TAIL))),)
    low, high = extremes(reals)
    minimum, scale, rest, ordinary = group_fields(low, high, BITS)
    store_fields(metadata_ptr, group, minimum, scale, there)
    key = group_key(seed, group)[:, None]
    codes = round_groups(reals, (minimum, scale), key, k, eighth, length, BITS, ROUNDING, GROUP, TAIL)
    # Constant groups keep the lower half of their value in the first bytes of the first run; all other bytes are 0.
    REST: tl.constexpr = 4 if reals[0].dtype == tl.float64 else 2
    first = tl.where(k < REST, (rest[:, None] >> (8 * tl.minimum(k, REST - 1)).to(tl.uint32)) & 0xFF, 0)
    to = codes_ptr + group[:, None] * (GROUP // 8 * BITS) + k
    mask = there[:, None]
    if TAIL:
        mask = mask & (k < eighth)
    for run in tl.static_range(BITS):
        packed = pack_run(codes, run, BITS)
        if run == 0:
            packed = tl.where(ordinary[:, None], packed, first)
        else:
            packed = tl.where(ordinary[:, None], packed, 0)
        tl.store(to + run * eighth, packed.to(tl.uint8), mask=mask)

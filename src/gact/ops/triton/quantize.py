"""Kernels of ``quantize``: minimum, maximum, rounding and packing in one pass over the elements."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from .elements import divide, round_half_even, to_real
from .fields import field_value, group_fields, negative, store_fields
from .random import group_key, private_bits, shared_bits
from .tiles import append, existing, locate, pack_run


@triton.jit
def load_sections(base: tl.tensor, k: tl.tensor, eighth: tl.tensor, length: tl.tensor, TAIL: tl.constexpr) -> tl.tuple:
    """The elements of the eight sections in the dtype of the arithmetic."""
    reals = ()
    for s in tl.static_range(8):
        reals = append(reals, to_real(tl.load(base + existing(s * eighth + k, length, TAIL))))
    return reals


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
def fixed_points(reals: tl.tuple, minimum: tl.tensor, scale: tl.tensor, LEVELS: tl.constexpr) -> tl.tuple:
    """Steps above the minimum with 15 fractional bits, of the eight sections, uint32."""
    # A power of two changes no rounding: this is (x - minimum) * (1 / scale) * 2^15.
    inverse = (divide(tl.full(scale.shape, 1.0, scale.dtype), scale) * 32768.0)[:, None]
    points = ()
    for s in tl.static_range(8):
        points = append(points, round_half_even((reals[s] - minimum[:, None]) * inverse, 32768.0 * LEVELS))
    return points


@triton.jit
def dither_pays(
    points: tl.tuple,
    k: tl.tensor,
    eighth: tl.tensor,
    length: tl.tensor,
    GROUP: tl.constexpr,
    TAIL: tl.constexpr,
) -> tl.tensor:
    """Whether dither leaves less variance in each group, judged by its first 64 elements."""
    judged = tl.minimum(length, 64) if TAIL else min(GROUP, 64)
    spread = tl.zeros_like(points[0])
    for s in tl.static_range(8):
        if TAIL or s * (GROUP // 8) < 64:
            f = points[s] & 0x7FFF
            spread += tl.where(s * eighth + k < judged, (f * (32768 - f)) >> 15, 0)
    return 192 * tl.sum(spread.to(tl.int32), axis=1) > 17 * 32768 * judged


@triton.jit
def round_points(
    points: tl.tuple,
    pays: tl.tensor,
    key: tl.tensor,
    k: tl.tensor,
    eighth: tl.tensor,
    length: tl.tensor,
    ROUNDING: tl.constexpr,
    GROUP: tl.constexpr,
    TAIL: tl.constexpr,
) -> tl.tuple:
    """Codes of the eight sections, uint32; elements that a short group lacks have code 0."""
    private = private_bits(key, k, eighth, GROUP, TAIL) if ROUNDING != "nearest" else ()
    codes = ()
    for s in tl.static_range(8):
        r = private[s] if ROUNDING != "nearest" else tl.full(points[s].shape, 16384, tl.uint32)
        if ROUNDING == "dithered":
            d = shared_bits(key, s, k, eighth, TAIL)
            r = tl.where(pays, (d << 13) | (r & 0x1FFF), r)
        code = (points[s] + r) >> 15
        if TAIL:
            code = tl.where(s * eighth + k < length, code, 0)
        codes = append(codes, code)
    return codes


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
        ROUNDING: One of ``checks.ROUNDINGS``.
        ROWS: Groups of a program.
        TAIL: Quantize the short last group, in a single program, instead of the full ones.
    """
    k = tl.arange(0, GROUP // 8)[None, :]
    group, source, there, eighth = locate(groups, length, GROUP, ROWS, TAIL)
    reals = load_sections(x_ptr + source[:, None] * GROUP, k, eighth, length, TAIL)
    low, high = extremes(reals)
    minimum, scale, rest, ordinary = group_fields(low, high, BITS)
    WIDE: tl.constexpr = low.dtype == tl.float64
    points = fixed_points(reals, field_value(minimum, WIDE), field_value(scale, WIDE), 2**BITS - 1)
    pays = ordinary
    if ROUNDING == "dithered":
        pays = ordinary & dither_pays(points, k, eighth, length, GROUP, TAIL)
        scale = tl.where(pays, negative(scale, WIDE), scale)
    store_fields(metadata_ptr, group, minimum, scale, there)
    key = group_key(seed, group)[:, None]
    codes = round_points(points, pays[:, None], key, k, eighth, length, ROUNDING, GROUP, TAIL)
    # Constant groups keep the lower half of their value in the first bytes of the first run; all other bytes are 0.
    REST: tl.constexpr = 4 if WIDE else 2
    first = tl.where(k < REST, (rest[:, None] >> (8 * tl.minimum(k, REST - 1)).to(tl.uint32)) & 0xFF, 0)
    to = codes_ptr + group[:, None] * (GROUP // 8 * BITS) + k
    mask = there[:, None] & (k < eighth) if TAIL else there[:, None]
    for run in tl.static_range(BITS):
        packed = tl.where(ordinary[:, None], pack_run(codes, run, BITS), first if run == 0 else 0)
        tl.store(to + run * eighth, packed.to(tl.uint8), mask=mask)

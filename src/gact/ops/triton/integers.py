"""Kernels of integers: exact offsets of 1, 2, 4, 8, 16 or 32 bits. See ``docs/codes.md``, "Integers"."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from .tiles import existing, locate


@triton.jit(do_not_specialize=["groups", "length", "minimum"])
def encode_integers_kernel(
    x_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    groups: tl.int64,
    length: tl.int64,
    minimum: tl.int64,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    TAIL: tl.constexpr,
) -> None:
    """The lowest ``BITS`` bits of ``x - minimum`` for each element of ``ROWS`` groups.

    Args:
        x_ptr: Integers.
        codes_ptr: Where the offsets go: uint8, or integers of 16 or 32 bits for offsets of so many.
        groups: Number of full groups.
        length: Elements of the short last group; unused without ``TAIL``.
        minimum: The value of offset 0.
        BITS: Width of an offset.
        GROUP: Elements per group.
        ROWS: Groups of a program.
        TAIL: Encode the short last group, in a single program, instead of the full ones.
    """
    k = tl.arange(0, GROUP // 8)[None, :]
    group, source, there, eighth = locate(groups, length, GROUP, ROWS, TAIL)
    base = x_ptr + source[:, None] * GROUP
    mask = there[:, None] & (k < eighth) if TAIL else there[:, None]
    # Words lie one after the other, eight to a run of eight; narrow offsets share bytes as the codes of a plane do.
    WORDS: tl.constexpr = BITS > 8
    to = codes_ptr + group[:, None] * (GROUP if WORDS else GROUP // 8 * BITS) + k
    code_dtype: tl.constexpr = codes_ptr.dtype.element_ty
    for run in tl.static_range(8 if WORDS else BITS):
        packed = tl.zeros([ROWS, GROUP // 8], tl.uint32)
        for m in tl.static_range(1 if WORDS else 8 // BITS):
            j = (run + m * BITS) * eighth + k
            x = tl.load(base + existing(j, length, TAIL))
            code = x.to(tl.uint32) - minimum.to(tl.int64).to(tl.uint32)
            if BITS < 32:
                code = code & (2**BITS - 1)
            if TAIL:
                code = tl.where(j < length, code, 0)
            packed |= code << (m * BITS)
        tl.store(to + run * eighth, packed.to(code_dtype), mask=mask)


@triton.jit(do_not_specialize=["groups", "length", "minimum"])
def decode_integers_kernel(
    out_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    groups: tl.int64,
    length: tl.int64,
    minimum: tl.int64,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    TAIL: tl.constexpr,
) -> None:
    """``minimum + offset`` for each element of ``ROWS`` groups, modulo the width of the dtype.

    Args:
        out_ptr: Where the integers go.
        codes_ptr: Offsets, in the dtype that the encoding kernel writes.
        groups: Number of full groups.
        length: Elements of the short last group; unused without ``TAIL``.
        minimum: The value of offset 0.
        BITS: Width of an offset.
        GROUP: Elements per group.
        ROWS: Groups of a program.
        TAIL: Decode the short last group, in a single program, instead of the full ones.
    """
    k = tl.arange(0, GROUP // 8)[None, :]
    group, source, there, eighth = locate(groups, length, GROUP, ROWS, TAIL)
    WORDS: tl.constexpr = BITS > 8
    base = codes_ptr + source[:, None] * (GROUP if WORDS else GROUP // 8 * BITS) + existing(k, eighth, TAIL)
    to = out_ptr + group[:, None] * GROUP + k
    dtype: tl.constexpr = out_ptr.dtype.element_ty
    for run in tl.static_range(8 if WORDS else BITS):
        packed = tl.load(base + run * eighth).to(tl.uint32)
        for m in tl.static_range(1 if WORDS else 8 // BITS):
            code = packed >> (m * BITS)
            if BITS < 32:
                code = code & (2**BITS - 1)
            if dtype == tl.int64:
                x = code.to(tl.int64) + minimum.to(tl.int64)
            else:
                x = (code + minimum.to(tl.int64).to(tl.uint32)).to(dtype)
            section = (run + m * BITS) * eighth
            mask = there[:, None]
            if TAIL:
                mask = mask & (k < eighth) & (section + k < length)
            tl.store(to + section, x, mask=mask)

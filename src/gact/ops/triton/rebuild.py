"""Kernel of ``rebuild_into``: decoded elements under lines, a sum and a mask. See ``docs/codes.md``, "Rebuilding".

NOTE: Arguments of ``rebuild_kernel``
* ``out_ptr``: where the elements go, and with ``ADD`` what is added; bfloat16 as int16.
* ``codes_ptr``, ``metadata_ptr``: codes, uint8; minimum and scale, a pair as one int32.
* ``line0_ptr``, ``line1_ptr``: factors, then shifts of each line; unused if its ``WALK`` is empty.
* ``mask_ptr``: bits of a mask, uint8; unused without ``MASK``.
* ``groups``, ``length``: number of full groups, and elements of the short last group, which ``TAIL`` alone reads.
* ``seed``: key of the random stream, of which dithered groups were given two bits per element.
* ``on``: factor where a bit of the mask is 1. ``numel``: elements of the tensor.
* ``count0``, ``inner0``, ``count1``, ``inner1``: channels of each line, and neighbours that share one of them.
* ``BITS``: width of a code. ``GROUP``: elements of a group. ``ROWS``: groups of a program.
* ``WALK0``, ``WALK1``: how the channels of a line follow each other, see ``channel_of``; empty for no line.
* ``MASK``: multiply by a mask. ``ADD``: add what is there.
* ``TAIL``: rebuild the short last group, in a single program, instead of the full ones.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from .dequantize import decoded_section, group_line, load_runs
from .elements import from_real, to_real
from .masks import number
from .random import group_key
from .tiles import existing, locate

MASK_GROUP = tl.constexpr(256)
ITEMSIZE = 4
"""Tiles are those of float32 whatever the dtype: with more elements at a time factors and shifts take the registers."""


def walk_of(count: int, inner: int, group_size: int) -> str:
    """How the channels of a line follow each other within a group: ``WALK`` of ``channel_of``.

    Args:
        count: Number of channels.
        inner: Neighbours that share a channel.
        group_size: Elements per group.
    """
    if inner >= group_size:
        return "runs"
    if count < group_size:
        return "any"
    return "cycle" if inner == 1 else "steps"


@triton.jit
def channel_of(start: tl.tensor, j: tl.tensor, count: tl.tensor, inner: tl.tensor, WALK: tl.constexpr) -> tl.tensor:
    """Channel of the elements start + j.

    Args:
        start: First element of each group, int64.
        j: Places in the group.
        count: Number of channels.
        inner: Neighbours that share a channel.
        WALK: "runs" if a group meets two channels at most, "cycle" if neighbours have different channels and a group
            no channel twice, "steps" if only the latter, "any" if there are fewer channels than elements in a group.
    """
    first = start // inner % count
    rest = start % inner
    if WALK == "runs":
        channel = first + (rest + j >= inner).to(tl.int64)
        return tl.where(channel == count, 0, channel)
    elif WALK == "any":
        # Here all of these are less than twice a group, and 32 bits divide several times as fast as 64.
        step = (rest.to(tl.int32) + j.to(tl.int32)).to(tl.uint32) // inner.to(tl.uint32)
        return ((first.to(tl.uint32) + step) % count.to(tl.uint32)).to(tl.int32)
    else:
        step = j
        if WALK == "steps":
            step = (rest.to(tl.int32) + j.to(tl.int32)).to(tl.uint32) // inner.to(tl.uint32)
        channel = first + step
        return tl.where(channel >= count, channel - count, channel)


@triton.jit
def apply_line(
    real: tl.tensor,
    line_ptr: tl.tensor,
    start: tl.tensor,
    j: tl.tensor,
    count: tl.tensor,
    inner: tl.tensor,
    WALK: tl.constexpr,
) -> tl.tensor:
    """Factor * x + shift of each element's channel."""
    channel = channel_of(start, j, count, inner, WALK)
    return real * tl.load(line_ptr + channel) + tl.load(line_ptr + count + channel)


@triton.jit
def mask_bits(mask_ptr: tl.tensor, place: tl.tensor, numel: tl.tensor) -> tl.tensor:
    """The bits of elements ``place``, which lie in one section of their group of codes but in any of the mask's."""
    group = place // MASK_GROUP
    length = tl.minimum(numel - group * MASK_GROUP, MASK_GROUP).to(tl.int32)
    eighth = (length + 31) // 32 * 4
    j = (place % MASK_GROUP).to(tl.int32)
    byte = tl.load(mask_ptr + group * (MASK_GROUP // 8) + j % eighth).to(tl.int32)
    return byte >> (j // eighth) & 1


@triton.jit(do_not_specialize=["groups", "length", "seed", "on", "numel", "count0", "inner0", "count1", "inner1"])
def rebuild_kernel(
    out_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    metadata_ptr: tl.tensor,
    line0_ptr: tl.tensor,
    line1_ptr: tl.tensor,
    mask_ptr: tl.tensor,
    groups: tl.int64,
    length: tl.int64,
    seed: tl.int64,
    on: tl.int64,
    numel: tl.int64,
    count0: tl.int64,
    inner0: tl.int64,
    count1: tl.int64,
    inner1: tl.int64,
    BITS: tl.constexpr,
    WALK0: tl.constexpr,
    WALK1: tl.constexpr,
    MASK: tl.constexpr,
    ADD: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    TAIL: tl.constexpr,
) -> None:
    """Rebuild ``ROWS`` groups. The docstring of this file tells what the arguments are."""
    k = tl.arange(0, GROUP // 8)[None, :]
    group, source, there, eighth = locate(groups, length, GROUP, ROWS, TAIL)
    minimum, scale = group_line(metadata_ptr, codes_ptr, source, GROUP // 8 * BITS)
    runs = load_runs(codes_ptr + source[:, None] * (GROUP // 8 * BITS) + existing(k, eighth, TAIL), eighth, BITS)
    key = group_key(seed, source)[:, None]
    start = source[:, None] * GROUP
    dtype: tl.constexpr = out_ptr.dtype.element_ty
    # Groups of the mask are those of the codes: its bits lie as codes of one bit do.
    TOGETHER: tl.constexpr = GROUP == MASK_GROUP
    if MASK and TOGETHER:
        bits = tl.load(mask_ptr + source[:, None] * (GROUP // 8) + existing(k, eighth, TAIL)).to(tl.int32)
    for s in tl.static_range(8):
        j = s * eighth + k
        if TAIL:
            j = tl.minimum(j, length - 1)
        real = decoded_section(runs, s, minimum, scale, key, k, eighth, BITS, TAIL, dtype == tl.float16)
        if WALK0 != "":
            real = apply_line(real, line0_ptr, start, j, count0, inner0, WALK0)
        if WALK1 != "":
            real = apply_line(real, line1_ptr, start, j, count1, inner1, WALK1)
        inside = there[:, None]
        if TAIL:
            inside = inside & (k < eighth) & (s * eighth + k < length)
        to = out_ptr + group[:, None] * GROUP + s * eighth + k
        if ADD:
            real += to_real(tl.load(to, mask=inside, other=0))
        if MASK:
            bit = (bits >> s & 1) if TOGETHER else mask_bits(mask_ptr, start + j, numel)
            real = tl.where(bit != 0, real * number(on, tl.float32), 0.0)
        tl.store(to, from_real(real, dtype), mask=inside)

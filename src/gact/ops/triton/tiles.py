"""How a program's groups lie in registers, and how codes become planes. See ``docs/codes.md``, "Bit packing".

NOTE: sections.
    A plane of w bits packs elements that lie a whole section apart, and every width's sections are made of eighths of the group. So a
    program holds its groups as eight tensors, one per eighth, each ``[groups, eighth]``: elements k, k + eighth, ... of one byte are
    then in the same thread, and neither packing nor unpacking needs shuffles or shared memory. A group of ``bits`` bits takes ``bits``
    runs of ``eighth`` bytes.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def places(section: tl.constexpr, k: tl.tensor, eighth: tl.tensor, length: tl.tensor, TAIL: tl.constexpr) -> tl.tensor:
    """Index in its group of each element of a section; in a short group the last element stands for missing ones."""
    j = section * eighth + k
    if TAIL:
        j = tl.minimum(j, length - 1)
    return j


@triton.jit
def pack_run(codes: tl.tuple, RUN: tl.constexpr, BITS: tl.constexpr) -> tl.tensor:
    """Bytes of one of the ``BITS`` runs of each group, from the codes of the eight sections, as uint32."""
    # The run lies in the plane of the widest width whose runs are not yet used up.
    W: tl.constexpr = plane_width(RUN, BITS)
    SHIFT: tl.constexpr = plane_shift(RUN, BITS)
    packed = (codes[RUN - SHIFT] >> SHIFT) & (2**W - 1)
    for m in tl.static_range(1, 8 // W):
        packed |= ((codes[RUN - SHIFT + m * W] >> SHIFT) & (2**W - 1)) << (m * W)
    return packed


@triton.jit
def unpack_section(runs: tl.tuple, SECTION: tl.constexpr, BITS: tl.constexpr) -> tl.tensor:
    """Codes of one section, from the bytes of all runs of each group, as uint32."""
    code = tl.zeros_like(runs[0])
    for p in tl.static_range(4):
        W: tl.constexpr = 8 >> p
        if BITS & W:
            SHIFT: tl.constexpr = BITS & (15 - (2 * W - 1))
            code |= ((runs[SHIFT + SECTION % W] >> (SECTION // W * W)) & (2**W - 1)) << SHIFT
    return code


@triton.constexpr_function
def plane_width(run: int, bits: int) -> int:
    """Width of the plane that a run of a group belongs to."""
    return next(w for w in (8, 4, 2, 1) if bits & w and run < (bits & -w))


@triton.constexpr_function
def plane_shift(run: int, bits: int) -> int:
    """Code bits below that plane, which is also the number of runs before it."""
    return bits & -(2 * plane_width(run, bits))

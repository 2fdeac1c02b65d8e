"""How a program's groups lie in registers, and how codes become planes. See ``docs/codes.md``, "Bit packing".

NOTE: sections.
    A plane of w bits packs elements that lie a whole section apart, and every width's sections are made of eighths of
    the group. So a program holds its groups as eight tensors, one per eighth, each ``[groups, eighth]``: elements k,
    k + eighth, ... of one byte are then in the same thread, and neither packing nor unpacking needs shuffles or shared
    memory. A group of ``bits`` bits takes ``bits`` runs of ``eighth`` bytes.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def locate(
    groups: tl.tensor, length: tl.tensor, GROUP: tl.constexpr, ROWS: tl.constexpr, TAIL: tl.constexpr
) -> tl.tuple:
    """Where this program's groups are.

    Args:
        groups: Number of full groups.
        length: Elements of the short last group; unused without ``TAIL``.
        GROUP: Elements per group.
        ROWS: Groups of a program.
        TAIL: Whether the program takes the short last group instead of full ones.

    Returns:
        Index of each group, int64; the same, but of an existing group also for rows past the end, so that loads need no
        mask; whether the group exists; length of a section.
    """
    if TAIL:
        group = groups.to(tl.int64) + tl.arange(0, ROWS)
        last = groups.to(tl.int64)
        eighth = ((length + 31) // 32 * 4).to(tl.int32)
    else:
        group = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        last = groups.to(tl.int64) - 1
        eighth = GROUP // 8
    return group, tl.minimum(group, last), group <= last, eighth


@triton.jit
def existing(j: tl.tensor, length: tl.tensor, TAIL: tl.constexpr) -> tl.tensor:
    """Indices of elements in their groups, of the last one instead of those that a short group lacks."""
    return tl.minimum(j, length - 1) if TAIL else j


@triton.jit
def append(items: tl.tuple, item: tl.tensor) -> tl.tuple:
    """A tuple with one more item."""
    return items + (item,)  # noqa: RUF005 - Triton does not unpack


@triton.jit
def pack_run(codes: tl.tuple, RUN: tl.constexpr, BITS: tl.constexpr) -> tl.tensor:
    """Bytes of one of the ``BITS`` runs of each group, from the codes of the eight sections, as uint32."""
    W: tl.constexpr = plane_width(RUN, BITS)
    SHIFT: tl.constexpr = plane_shift(RUN, BITS)
    packed = (codes[RUN - SHIFT] >> SHIFT) & (2**W - 1)
    for m in tl.static_range(1, 8 // W):
        packed |= ((codes[RUN - SHIFT + m * W] >> SHIFT) & (2**W - 1)) << (m * W)
    return packed


@triton.jit
def unpack_section(runs: tl.tuple, SECTION: tl.constexpr, BITS: tl.constexpr) -> tl.tensor:
    """Codes of one section, from the bytes of all runs of each group, as uint32."""
    code = unpack_plane(runs, SECTION, BITS, 0)
    for p in tl.static_range(1, plane_count(BITS)):
        code |= unpack_plane(runs, SECTION, BITS, plane_start(p, BITS))
    return code


@triton.jit
def unpack_plane(runs: tl.tuple, SECTION: tl.constexpr, BITS: tl.constexpr, SHIFT: tl.constexpr) -> tl.tensor:
    """The code bits that the plane beginning with run ``SHIFT`` holds of one section, in their place."""
    W: tl.constexpr = plane_width(SHIFT, BITS)
    return ((runs[SHIFT + SECTION % W] >> (SECTION // W * W)) & (2**W - 1)) << SHIFT


@triton.constexpr_function
def plane_width(run: int, bits: int) -> int:
    """Width of the plane that a run of a group belongs to."""
    return next(w for w in (8, 4, 2, 1) if bits & w and run < (bits & -w))


@triton.constexpr_function
def plane_shift(run: int, bits: int) -> int:
    """Code bits below that plane, which is also the number of runs before it."""
    return bits & -(2 * int(plane_width(run, bits)))


@triton.constexpr_function
def plane_start(plane: int, bits: int) -> int:
    """First run of a plane, counted from 0: the planes before it are the widest."""
    return sum([w for w in (8, 4, 2, 1) if bits & w][:plane])


@triton.constexpr_function
def plane_count(bits: int) -> int:
    """Planes of a width."""
    return bin(bits).count("1")

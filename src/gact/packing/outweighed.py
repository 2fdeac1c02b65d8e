"""Which width a code must have so that its rounding does not outweigh the rows that a norm reads of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from ..autograd.internals import FakeTensor
from ..codecs.groups import Groups
from ..operators.need import Need

WIDEST = 4
"""Wider codes are not looked at: one value in a row of a thousand would have to be all of it."""
_MOST = 3.0
"""Times the sum of squares of a row, which the rounding of an ordinary one may well reach at 2 bits."""
_NARROWEST = 2
"""One bit outweighs any row; who asks for it has been told what it does."""


def enough(needed: Need, bits: int, region: Tensor, coded: Callable[[int], Groups]) -> tuple[Need, int]:
    """A need and a width, both raised until no row is outweighed.

    Args:
        needed: What must survive of the region.
        bits: The width that its site has.
        region: A dense region.
        coded: Encodes the region in a width.
    """
    if not needed.row or not _NARROWEST <= bits < WIDEST:
        return needed, bits
    least = min(_least_width(region, needed.row, bits, coded), needed.max_bits)
    return (needed, bits) if least <= bits else (replace(needed, min_bits=least), least)


def _least_width(region: Tensor, row: int, bits: int, coded: Callable[[int], Groups]) -> int:
    """The least width from one on; the widest on devices, where looking would wait."""
    if not region.is_cpu:
        return WIDEST
    if type(region) is FakeTensor or not region.is_contiguous() or region.numel() % row:
        return bits
    rows = region.detach().view(-1, row)
    most = rows.square().sum(1).mul_(_MOST)
    while bits < WIDEST:
        error = coded(bits).decode(region.size(), region.stride()).view(-1, row).sub_(rows)
        if not bool((error.square_().sum(1) > most).any()):
            break
        bits += 1
    return bits

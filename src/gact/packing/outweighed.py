"""Which width a code must have so that its rounding does not outweigh the rows that a norm reads of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..operators.forms import MIDDLES
from ..operators.need import Need
from ..saved.base import Held
from ..saved.coarse import is_fine
from ..saved.encoded import Encoded
from ..saved.ledger import Ledger
from ..saved.saturated import set_saturated_aside

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


def serves(held: Held, needed: Need, region: Tensor | None, ledger: Ledger) -> bool:
    """Whether what is held already is fine enough for whoever reads a region.

    Args:
        held: What gives the values of the region.
        needed: What must survive of it.
        region: A dense region.
        ledger: Counts what the codes gain.
    """
    if region is None:
        return True
    code = held.code if isinstance(held, Encoded) and isinstance(held.code, Groups) else None
    before = 0 if code is None else code.nbytes
    if not is_fine(held, region, needed):
        return False
    if code is not None:
        if needed.form in MIDDLES:
            set_saturated_aside(code, region, needed.form, held.bits)
        if isinstance(held, Encoded) and held.owner is not None and code.nbytes != before:
            ledger.resize(held.owner, held.decision, code.nbytes - before)
    return not outweighs(held, needed, region)


def outweighs(held: Held, needed: Need, region: Tensor) -> bool:
    """Whether some row that a norm reads is outweighed by the rounding of what is held already.

    Args:
        held: What gives the values of the region.
        needed: What must survive of it.
        region: A dense region.
    """
    if not needed.row or not _NARROWEST <= held.bits < WIDEST or not _has_rows(region, needed.row):
        return False
    decoded = held.decode(Layout(region.size(), region.stride(), region.size()))
    return _are_outweighed(decoded, region.detach(), needed.row)


def _has_rows(region: Tensor, row: int) -> bool:
    """Whether rows of that length can be looked at."""
    if not is_at_hand(region):
        return False
    inner = 1
    for extent in reversed(region.shape):
        if inner >= row:
            break
        inner *= extent
    return inner == row or (region.is_contiguous() and region.numel() % row == 0)


def _are_outweighed(decoded: Tensor, region: Tensor, row: int) -> bool:
    error, rows = decoded.sub_(region).reshape(-1, row), region.reshape(-1, row)
    if region.dtype == torch.float16:  # squares of a few hundreds are infinite in it
        error, rows = error.float(), rows.float()
    return bool((error.square_().sum(1) > rows.square().sum(1).mul_(_MOST)).any())


def _least_width(region: Tensor, row: int, bits: int, coded: Callable[[int], Groups]) -> int:
    """The least width from one on; the widest on devices, where looking would wait."""
    if not region.is_cpu:
        return WIDEST
    if not _has_rows(region, row):
        return bits
    region = region.detach()
    while bits < WIDEST and _are_outweighed(coded(bits).decode(region.size(), region.stride()), region, row):
        bits += 1
    return bits

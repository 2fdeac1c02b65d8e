"""Which width a code must have so that its steps are small beside the distance within which a function turns.

NOTE: Values that lie far away
The slope of GELU, of softplus or of an arcus tangent goes from one number to another within a few units, and beyond it
stays. Where one value of a group lies at 1e4 (what was masked, one channel of a language model), the step of its group
is many units, at any width: of the other values backward would read nothing but rounding, and not be right on average
either. However few such groups are, the gradient may be made of them: that of a weight is in proportion to the input,
and what is far from zero here often comes of a row that is as large. So all of them are looked at. They are held
exactly beside the codes where that takes fewer bytes than a width at which they are fine; otherwise the region has more
bits, and stays as it is where 8 are not enough.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand
from ..codecs.boxes import Boxes
from ..codecs.chunks import flat_of
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..codecs.transformed import Transformed
from ..operators.need import Need
from .base import Held
from .encoded import Encoded
from .filled import LEAST, has_fills
from .held import WIDEST
from .reaches import beyond, counted

_MOST = {1: 6.0, 2: 3.0, 3: 2.0, 4: 1.5, 5: 0.77, 6: 0.44, 7: 0.28, 8: 0.19}
"""How many times as wide as the distance steps may be at each width: who asks for few bits expects noise. Ranges are 6
times the distance then at one bit, 22 times at 4 and 48 times at 8."""
_SHARE = 1 / 8
"""Of the elements, that are held exactly beside codes at most: writing them to their places takes time."""
_ERROR = 5 / 8
"""Of a step, that a decoded element is off at most."""


def fit(code: Groups, region: Tensor, need: Need, bits: int) -> int:
    """The least width from one on at which steps are small enough; more than ``WIDEST`` if none is.

    Where a function does not turn, it is more only for a region with fills (``filled.py``).

    If that is the width which was asked for, the code holds exactly from now on what is too coarse.

    Where a rule of the user's has fixed the greatest, it is that at most.

    Args:
        code: Codes of a region, of any width.
        region: The region.
        need: What must survive of it.
        bits: The width.
    """
    limit = _range(bits, need)
    if not is_at_hand(region) or _are_small(code, limit if limit < math.inf else LEAST):
        return bits
    most = need.max_bits if need.max_bits < WIDEST else WIDEST + 1
    if limit == math.inf:
        return WIDEST + 1 if most > WIDEST and _has_many_fills(code, region) else bits
    widths = range(bits, min(most, WIDEST) + 1)
    counts, total = counted(code, region, [_range(width, need) for width in widths])
    # An element takes its own bits, and those of its place where it is alone.
    each = 8 * region.element_size() + (32 if total == region.numel() else 0)
    shares = [count / max(total, 1) for count in counts]
    costs = {width: width + each * share for width, share in zip(widths, shares, strict=True) if share <= _SHARE}
    least = min(costs, key=costs.__getitem__, default=most)
    if least == bits and counts[0] and bits in costs:
        code.set_aside(region, beyond(code, region, limit))
    return least


def _has_many_fills(code: Groups, region: Tensor) -> bool:
    """Whether a region has values beside fills in many groups; those of few groups are held exactly from now on."""
    if isinstance(code, Transformed) and code.transform.line is None and not isinstance(code.transform, Boxes):
        return False
    flat, units = flat_of(region.detach()), beyond(code, region, LEAST)
    if not has_fills(flat[code.elements_of(units, flat.numel())]):
        return False
    (count,), total = counted(code, region, [LEAST])
    if count > _SHARE * total:
        return True
    code.set_aside(region, units)
    return False


def is_fine(held: Held, region: Tensor, need: Need) -> bool:
    """Whether what is held of a region has steps that are small enough for a need.

    Codes hold exactly from now on what is too coarse, if that makes them so.

    Args:
        held: What is held.
        region: The region.
        need: What must survive of it.
    """
    bits = held.bits
    if not (need.turn or need.step) or bits > WIDEST or not is_at_hand(region):
        return True
    if need.max_bits < WIDEST and bits >= need.max_bits:
        return True  # a rule of the user's
    code = held.code if isinstance(held, Encoded) else None
    if code is not None and code.name != Groups.name:
        return True
    if isinstance(code, Groups):
        return fit(code, region, need, bits) <= bits
    least, most = torch.aminmax(region.detach())
    limit = _range(bits, need)
    if float(most) - float(least) <= limit:
        return True
    decoded = flat_of(held.decode(Layout(region.size(), region.stride(), region.size())))
    error = decoded.sub_(flat_of(region.detach())).abs_().amax()
    return float(error) * ((1 << bits) - 1) / _ERROR <= limit


def _range(bits: int, need: Need) -> float:
    """Range that a group may have at a width."""
    step = min(_MOST[bits] * need.turn or math.inf, need.step or math.inf)
    return ((1 << bits) - 1) * step


def _are_small(code: Groups, limit: float) -> bool:
    """Whether a first look tells that no range is larger than that."""
    if isinstance(code, Transformed) and isinstance(code.transform, Boxes):
        return not float(code.widths().amax()) > limit
    steps = code.metadata[:, 1].abs().amax().float()
    if isinstance(code, Transformed) and code.bent is None:
        lines = code.lines()
        if not lines:
            return False
        for (factors, _), _ in lines:
            steps = steps * factors.abs().amax()
    return not float(steps) * ((1 << code.bits) - 1) > limit

"""Which width a code must have so that its steps are small beside the distance within which a function turns.

NOTE: Values that lie far away
The slope of GELU, of softplus or of an arcus tangent goes from one number to another within a few units, and beyond it
stays. Where one value of a group lies at 1e4 (what was masked, one channel of a language model), the step of its group
is many units, at any width: of the other values backward would read nothing but rounding, and not be right on average
either. Such a region has more bits, and stays as it is where 8 are not enough.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand
from ..codecs.bent import Bent
from ..codecs.boxes import Boxes
from ..codecs.chunks import flat_of
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..codecs.transformed import Transformed
from ..operators.need import Need
from .base import Held
from .encoded import Encoded
from .held import WIDEST

_MOST = {1: 6.0, 2: 3.0, 3: 2.0, 4: 1.5, 5: 0.77, 6: 0.44, 7: 0.28, 8: 0.19}
"""How many times as wide as the distance steps may be at each width: who asks for few bits expects noise. Ranges are 6
times the distance then at one bit, 22 times at 4 and 48 times at 8."""
_FEW = 256
"""One group in so many may have larger ones."""
_ERROR = 5 / 8
"""Of a step, that a decoded element is off at most."""
_SAMPLE = 2**16


def least_width(code: Groups, region: Tensor, need: Need, bits: int) -> int:
    """The least width from one on whose steps are small enough; more than ``WIDEST`` if none is.

    Where a rule of the user's has fixed the greatest, it is that at most.

    Args:
        code: Codes of a region, of any width.
        region: The region.
        need: What must survive of it.
        bits: The width.
    """
    turn = need.turn
    if not turn or not is_at_hand(region):
        return bits
    levels = (1 << code.bits) - 1
    steps = _steps(code)
    enough = _range(bits, turn) / levels
    reach = levels * (_error(code, region) / _ERROR if steps is None else _all_but_few(steps, enough))
    most = need.max_bits if need.max_bits < WIDEST else WIDEST + 1
    while bits < most and reach > _range(bits, turn):
        bits += 1
    return bits


def is_fine(held: Held, region: Tensor, need: Need) -> bool:
    """Whether what is held of a region has steps that are small enough for a need.

    Args:
        held: What is held.
        region: The region.
        need: What must survive of it.
    """
    turn, bits = need.turn, held.bits
    if not turn or bits > WIDEST or not is_at_hand(region):
        return True
    if need.max_bits < WIDEST and bits >= need.max_bits:
        return True  # a rule of the user's
    code = held.code if isinstance(held, Encoded) else None
    if code is not None and code.name != Groups.name:
        return True
    if isinstance(code, Groups) and _steps(code) is not None:
        return least_width(code, region, need, bits) <= bits
    least, most = torch.aminmax(region.detach())
    if float(most) - float(least) <= _range(bits, turn):
        return True
    return ((1 << bits) - 1) * _error(held, region) / _ERROR <= _range(bits, turn)


def _range(bits: int, turn: float) -> float:
    """Range that a group may have at a width."""
    return ((1 << bits) - 1) * _MOST[bits] * turn


def _steps(code: Groups) -> Tensor | None:
    """The steps of groups; None if they are steps of something else than the values, or of a line of them."""
    transform = code.transform if isinstance(code, Transformed) else None
    if isinstance(transform, Boxes):
        return transform.widths().flatten().div_((1 << code.bits) - 1)
    if transform is not None and not isinstance(transform, Bent):
        return None
    steps: Tensor = code.metadata[:, 1].float().abs()
    return steps


def _error(held: Groups | Held, region: Tensor) -> float:
    """How far decoded elements are off, but for a few of them."""
    if isinstance(held, Groups):
        decoded = held.decode(tuple(region.size()), region.stride())
    else:
        decoded = held.decode(Layout(region.size(), region.stride(), region.size()))
    every = max(region.numel() // _SAMPLE, 1)
    some = flat_of(region.detach())[::every].double()
    return _all_but_few(flat_of(decoded)[::every].double().sub_(some).abs_(), 0.0)


def _all_but_few(figures: Tensor, enough: float) -> float:
    """The greatest but for a few; it is not looked for where the greatest of all is small enough."""
    greatest = float(figures.amax()) if figures.numel() else 0.0
    if greatest <= enough:
        return greatest
    return float(figures.kthvalue(figures.numel() - figures.numel() // _FEW).values)

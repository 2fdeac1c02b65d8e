"""Groups of a saturated tanh or sigmoid, which are held exactly.

NOTE: Slopes of nearly zero
Backward of tanh reads ``1 - t^2``, which is next to nothing where t is saturated. In a row that is, all noise is that
of rounded values, and what the slope is multiplied with (the input of the layer before, the argument of a swish that is
written out) is as large as what saturated it. Where most of a region is saturated, its slopes are coded instead
(``codecs/slopes.py``); here it is some groups of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand
from ..codecs.chunks import flat_of
from ..codecs.deviations import VARIANCE
from ..codecs.groups import Groups
from ..codecs.slopes import FUNCTIONS

_NOISE = 4 * VARIANCE
"""Variance of a slope, against the greatest, where that is nearly zero: of a squared step."""
_MOST = {1: 16.0, 2: 4.0, 3: 1.0, 4: 1 / 4, 5: 1 / 8, 6: 1 / 16, 7: 1 / 32, 8: 1 / 64}
"""How many times the mean square of a group's slopes that may be at each width: who asks for few bits expects noise."""
_SHARE = 1 / 16
"""Of the groups, that are held exactly at most."""
_GLANCE = 8
"""Elements of each group that are looked at first."""
_FLAT = 0.75
"""Their mean squared distance from where the slope is greatest, against the greatest, in a group that is looked at."""


def set_saturated_aside(code: Groups, region: Tensor, form: str, bits: int) -> None:
    """Has codes hold exactly the groups in which the rounding of slopes would be more than the slopes.

    Args:
        code: Codes of a region, of any width.
        region: The region.
        form: Of what function it is the result: one of ``FUNCTIONS``.
        bits: The width.
    """
    size, flat = code.group_size, flat_of(region.detach())
    whole = flat.numel() // size
    if type(code) is not Groups or not is_at_hand(region) or not whole:
        return
    table, function = flat[: whole * size].view(whole, size), FUNCTIONS[form]
    glance = table[:, :_GLANCE] - function.middle if function.middle else table[:, :_GLANCE]
    farthest = math.sqrt(_FLAT * function.greatest * _GLANCE)
    found = (torch.linalg.vector_norm(glance, dim=1) > farthest).nonzero()[:, 0]
    if not found.numel():
        return
    steps = code.metadata[found, 1].float().mul_(((1 << code.bits) - 1) / ((1 << bits) - 1))
    noise = steps.square_().mul_(_NOISE / function.greatest / _MOST[bits])
    found = found[noise > 0]
    distance = table[found].float().sub_(function.middle)
    squares = distance.square_().div_(-function.greatest).add_(1.0).square_().mean(1)
    found = found[squares < noise[noise > 0]]
    if 0 < found.numel() <= _SHARE * whole:
        code.set_aside(region, found)

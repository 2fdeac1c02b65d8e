"""Codes of values of which backward reads a square.

NOTE: What rounding adds
Codes are right on average, and their squares too large by the variance of the rounding, which is known for every group.
So it is taken away: what comes back is the value whose square is right on average. That of a value nearer to zero than
its rounding would be negative; it comes back as zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..codecs.chunks import flat_of
from ..codecs.deviations import VARIANCE
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..saved.encoded import Encoded
from .shifted import Altered, Shifted

_correct = torch.ops.gact.correct_squares_.default


class Squared(Altered):
    """Codes for a reader who reads the squared distance from a number.

    Args:
        root: The codes.
        middle: The number.
    """

    __slots__ = ("_middle",)

    def __init__(self, root: Encoded, middle: float) -> None:
        super().__init__(root)
        self._middle = middle

    def _alter(self, flat: Tensor, plain: Layout) -> None:
        code = self._root.code.loaded()
        if type(code) is Groups:
            widening = self._root.widening
            _correct(flat, code.metadata, code.group_size, self._middle, VARIANCE * widening * widening)
            return
        # No more than one tensor besides, since this is where memory is fullest.
        distance = flat.to(torch.promote_types(flat.dtype, torch.float32)).sub_(self._middle)
        squares = distance.square()
        if isinstance(code, Groups):
            deviation = flat_of(Shifted(self._root, 1.0).decode(plain)).sub_(flat_of(self._root.decode(plain)))
            squares.addcmul_(deviation, deviation, value=-1.0)
        flat.copy_(squares.clamp_(min=0.0).sqrt_().copysign_(distance).add_(self._middle))

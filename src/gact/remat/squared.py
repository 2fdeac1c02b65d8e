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
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..saved.encoded import Encoded
from .shifted import Altered, Shifted, deviations_of


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
        # No more than one tensor besides, since this is where memory is fullest.
        distance = flat.to(torch.promote_types(flat.dtype, torch.float32)).sub_(self._middle)
        squares = self._less_variance(distance.square(), plain)
        flat.copy_(squares.clamp_(min=0.0).sqrt_().copysign_(distance).add_(self._middle))

    def _less_variance(self, squares: Tensor, plain: Layout) -> Tensor:
        """Takes the variance of the rounding from squares of decoded values, in memory order and in place."""
        code = self._root.code.loaded()
        if type(code) is Groups:
            variances = deviations_of(code.metadata).mul_(self._root.widening).square_()
            whole = squares.numel() // code.group_size
            end = whole * code.group_size
            squares[:end].view(whole, code.group_size).sub_(variances[:whole, None])
            squares[end:].sub_(variances[whole:])
        elif isinstance(code, Groups):
            deviation = flat_of(Shifted(self._root, 1.0).decode(plain)).sub_(flat_of(self._root.decode(plain)))
            squares.addcmul_(deviation, deviation, value=-1.0)
        return squares

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
from ..codecs.fused import Pass
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..records import Decision
from ..saved.encoded import Encoded
from ..saved.origins import EXACT
from .shifted import Shifted, deviations_of


class Squared:
    """Codes of a region as one of its readers gets them, who reads the squared distance from a number.

    Args:
        root: The codes.
        middle: The number.
    """

    __slots__ = ("_middle", "_root", "readers")

    depth = 0
    origin = EXACT

    def __init__(self, root: Encoded, middle: float) -> None:
        self._root = root
        self._middle = middle
        self.readers = 0

    @property
    def bits(self) -> int:
        """Width of its code."""
        return self._root.bits

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the region."""
        return self._root.dtype

    @property
    def decision(self) -> Decision:
        """Its codec and width."""
        return self._root.decision

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """None: a pass takes no roots."""
        return None

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout."""
        plain = Layout(layout.dense, layout.region_stride, layout.dense)
        region = self._root.decode(plain)
        flat = flat_of(region)
        # No more than one tensor besides, since this is where memory is fullest.
        distance = flat.to(torch.promote_types(flat.dtype, torch.float32)).sub_(self._middle)
        squares = self._less_variance(distance.square(), plain)
        flat.copy_(squares.clamp_(min=0.0).sqrt_().copysign_(distance).add_(self._middle))
        return layout.restore(region)

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

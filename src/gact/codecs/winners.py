"""Which elements won a comparison, one bit each, in the place of values that are compared with the winner alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .masks import Mask, MaskTest

_WON = MaskTest(0.5, 1.5, 0.0, 1.0)


class Won(Mask):
    """Ones where an element won and zeros elsewhere, of a float dtype.

    Args:
        wins: Which elements won, bool, dense in memory.
        dtype: Dtype of what is given back.
    """

    __slots__ = ()

    def __init__(self, wins: Tensor, dtype: torch.dtype) -> None:
        super().__init__(wins, _WON)
        self.dtype = dtype


class Winners(Won):
    """The winner's value where an element won, and another elsewhere: for winners that are held exactly anyway.

    Args:
        wins: See ``Won``.
        dtype: Likewise.
        winner: Gives the winners, of a size that broadcasts to that of the region.
    """

    __slots__ = ("_winner",)

    def __init__(self, wins: Tensor, dtype: torch.dtype, winner: Callable[[], Tensor]) -> None:
        super().__init__(wins, dtype)
        self._winner = winner

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride."""
        out = super().decode(size, stride)
        winner = self._winner()
        other = torch.full_like(winner, -torch.inf).masked_fill_(winner == -torch.inf, torch.inf)
        return out.copy_(torch.where(out != 0, winner, other))

"""What autograd holds for a saved tensor that is not kept: it unpacks as often as autograd asks."""

from __future__ import annotations

from torch import Tensor

from ..autograd.inner import in_backward
from ..codecs.layout import Layout
from .base import Held
from .steps import Step
from .totals import Totals


class Packed:
    """One saved tensor: what is held for its region and the layout of this save.

    Args:
        held: What gives the region back.
        layout: Size and stride of the saved tensor.
        step: The step it belongs to.
        shares: Whether it may get the tensor that another save of the region got.

    Attributes:
        totals: What it has to add to; None if it may add to anything.
    """

    __slots__ = ("_shares", "held", "layout", "step", "totals")

    def __init__(self, held: Held, layout: Layout, step: Step, shares: bool = False) -> None:
        self.held = held
        self.layout = layout
        self.step = step
        self.totals: Totals | None = None
        self._shares = shares
        held.readers += shares

    def leave(self) -> None:
        """Reads no more: its save is held otherwise."""
        self.held.readers -= self._shares
        self._shares = False

    def unpack(self) -> Tensor:
        """A tensor with the size, stride, dtype and device of the saved one; fresh, but for readers that share it."""
        if self._shares and in_backward():
            value = self.step.sharing.read(self.held, self.layout)
        else:
            value = self.held.decode(self.layout)
        return value if self.totals is None else self.totals.completed(value)

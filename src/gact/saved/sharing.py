"""One tensor for several readers of a region in one backward pass.

Query, key and value read their input in a row, a shortcut and the first layer of a block with the block between them:
what the first reader decodes is kept for the others.

NOTE: Who shares
Plain autograd gives the same memory to all readers, so sharing it is safe with whatever is safe there. What a custom
function saves is decoded for it alone: its backward could write to it, which plain autograd would notice. On a device,
readers may run in several streams, and nothing is shared.

NOTE: What it costs
At most one tensor waits for its next reader, and only one that is small beside all that the step holds. So the
peak stays what it was: it is where large tensors meet.
"""

from __future__ import annotations

from torch import Tensor

from ..codecs.layout import Layout
from .base import Held
from .ledger import Ledger

_SHARE = 2
"""A tensor waits if it is this many times smaller than all that the step holds."""


class Sharing:
    """Holds the tensor that waits for its next reader. There is one for every step.

    Args:
        ledger: What the step saved.
    """

    __slots__ = ("_ledger", "_most_bytes", "_waiting")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._most_bytes: int | None = None
        # One attribute, so that threads see all of it or nothing.
        self._waiting: tuple[Held, Layout, Tensor] | None = None

    def read(self, region: Held, layout: Layout) -> Tensor:
        """The tensor of that layout, fresh or the one that an earlier reader got."""
        region.readers -= 1
        waiting = self._waiting
        if waiting is not None and waiting[0] is region:
            if region.readers <= 0:
                self._waiting = None
            if waiting[1] == layout:
                return waiting[2]
            if not waiting[1].copied and not layout.copied:  # another view of the same memory
                return waiting[2].as_strided(layout.size, layout.stride)
        tensor = region.decode(layout)
        if region.readers > 0 and tensor.is_cpu and tensor.nbytes <= self._limit():
            self._waiting = (region, layout, tensor)
        return tensor

    def _limit(self) -> int:
        if self._most_bytes is None:
            self._most_bytes = self._ledger.kept_bytes // _SHARE
        return self._most_bytes

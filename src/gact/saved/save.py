"""One save: what autograd holds instead of a tensor, from the call of the pack hook on.

A save waits, its tensor held exactly, until the node that made it is known; then it is settled for good.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from ..records import Site
from .base import Held
from .held import WIDEST
from .identity import Place
from .kept import Copied, Kept
from .ledger import Extent
from .packed import Packed
from .steps import Step
from .totals import Totals


class Queue(Protocol):
    """Where a save waits."""

    def keep(self, save: Save) -> None:
        """Keeps a save exactly that is read before it was told."""


class Save:
    """One saved tensor that waits for its node, and afterwards what gives it back.

    Args:
        tensor: The tensor without its graph.
        place: Identity, region and layout of it.
        number: Sequence number of the node that saves it.
        step: The step it belongs to.
        queue: Where it waits.

    Attributes:
        identity: Storage, offset, extent, dtype and version of the region.
        region: The dense region of memory behind the tensor, until the save is settled.
        layout: The tensor's view of the region.
        extent: What plain autograd keeps because of it.
        site: Where in the network it is saved; None until the node tells.
        frame: The module that was running.
        is_internal: Whether it is compiled code's own, which writes to its memory again when it is done with it.
        is_part: Whether keeping the tensor would keep a storage that is much larger.
        asks: Whether the tensor needs a gradient; set for inputs of checkpointed blocks.
        doubled: Whether a backward pass inside of forward saves it.
        is_data: Whether no op made it.
        is_local: Whether it is this rank's part of a tensor.
        source: Where that lies of which it is autocast's copy, if it is one.
        middle: The number from which its reader takes the squared distance, where it is coded as a value all the same.
        shares: Whether it may be given the tensor that another save of the region was given.
        again: What makes it again from what its node holds, if anything does.
        missed: How often it was looked for in vain.
        totals: What it has to add to when it is decoded; None if it may add to anything.
        result: What gives it back, once it is settled.
    """

    __slots__ = (
        "__weakref__",
        "again",
        "asks",
        "doubled",
        "extent",
        "frame",
        "identity",
        "is_data",
        "is_internal",
        "is_local",
        "is_part",
        "layout",
        "middle",
        "missed",
        "number",
        "queue",
        "region",
        "result",
        "shares",
        "site",
        "source",
        "step",
        "tensor",
        "totals",
    )

    def __init__(self, tensor: Tensor, place: Place, number: int, step: Step, queue: Queue) -> None:
        self.tensor: Tensor | None = tensor
        self.region: Tensor | None
        self.identity, self.region, self.layout = place
        self.number = number
        self.step = step
        self.queue = queue
        self.missed = 0
        self.result: Kept | Copied | Packed | None = None
        self.extent: Extent
        self.site: Site | None
        self.frame: Any
        self.is_part: bool
        self.asks: bool
        self.doubled: bool
        self.shares = False
        self.middle: float | None = None
        self.is_data: bool
        self.is_internal = self.is_local = False
        self.source: Place | None = None
        self.again: Held | None = None
        self.totals: Totals | None = None

    @property
    def place(self) -> Site:
        """Its site, once that is known."""
        assert self.site is not None
        return self.site

    @property
    def was_changed(self) -> bool:
        """Whether the tensor was changed in place while it waited."""
        assert self.tensor is not None
        return bool(self.tensor._version != self.identity[-1])

    def settle(self, result: Kept | Copied | Packed) -> None:
        """Takes what gives the tensor back from now on, and lets go of the tensor."""
        self.result = result
        if self.totals is not None and type(result) is Packed and result.held.bits <= WIDEST:
            result.totals = self.totals
            self.step.ledger.resize(self.place, result.held.decision, self.totals.nbytes)
        self.totals = None
        self.tensor = self.region = self.again = None

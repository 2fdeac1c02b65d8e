"""The unpack hook: what autograd calls to have a saved tensor back."""

from __future__ import annotations

from torch import Tensor

from ..autograd.inner import in_backward
from .kept import Copied, Kept
from .save import Save


def unpack(saved: Save | Kept | Copied) -> Tensor:
    """The unpack hook of every compressor."""
    step = saved.step
    if step is not None and in_backward():
        if step.inner.is_reading():
            step.inner.read(saved.site if type(saved) is Save else None)
        elif not step.used:
            step.used = step.ledger.was_read = True
            step.inner.use()
    if not isinstance(saved, Save):
        return saved.unpack()
    if saved.result is None:
        saved.queue.keep(saved)
    assert saved.result is not None
    return saved.result.unpack()

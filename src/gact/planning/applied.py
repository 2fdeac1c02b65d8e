"""A plan at work: the compressor and the checkpointing it asks for, as one context."""

from __future__ import annotations

import contextlib
from typing import Any

from torch import Tensor, nn

from ..checkpointing import Checkpointing
from ..compressor import Compressor


class AppliedPlan:
    """A context around forward, as a compressor is; it does nothing where plain training was chosen.

    Args:
        compressor: Compresses saved tensors; None to leave them alone.
        checkpointing: Runs blocks again in backward; None to run none again.
    """

    def __init__(self, compressor: Compressor | None, checkpointing: Checkpointing | None) -> None:
        self.compressor = compressor
        self.checkpointing = checkpointing

    def __enter__(self) -> AppliedPlan:
        with contextlib.ExitStack() as opened:
            if self.compressor is not None:
                opened.enter_context(self.compressor)
            if self.checkpointing is not None:
                opened.enter_context(self.checkpointing)
            opened.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        with contextlib.ExitStack() as closing:
            if self.compressor is not None:
                closing.push(self.compressor)
            if self.checkpointing is not None:
                closing.push(self.checkpointing)
            closing.pop_all().__exit__(*exception)

    def backward(self, loss: Tensor, **options: Any) -> None:
        """Runs backward, with what the compressor measures when that is due."""
        if self.compressor is None:
            loss.backward(**options)
        else:
            self.compressor.backward(loss, **options)


def applied(
    model: nn.Module, compress: bool, checkpoint: bool | tuple[str, ...], options: dict[str, Any]
) -> AppliedPlan:
    """The context for what was chosen."""
    compressor = Compressor(model, **options) if compress else None
    names = None if checkpoint is True else checkpoint
    return AppliedPlan(compressor, None if names is False else Checkpointing(model, names))

"""A plan at work: the compressor, or the checkpointing alone, that it asks for, as one context."""

from __future__ import annotations

import contextlib
from typing import Any

from torch import Tensor, nn

from ..checkpoint.checkpointing import Checkpointing
from ..compressor import Compressor
from ..levels import Level, exchange_attention, offload_of


class AppliedPlan:
    """A context around forward, as a compressor is; it does nothing where plain training was chosen.

    Args:
        compressor: Compresses saved tensors, and runs blocks again if it was made to; None to leave tensors alone.
        checkpointing: Runs blocks again where nothing is compressed; None to run none again.
    """

    def __init__(self, compressor: Compressor | None = None, checkpointing: Checkpointing | None = None) -> None:
        self.compressor = compressor
        self.checkpointing = checkpointing
        self._context: contextlib.AbstractContextManager[Any] = compressor or checkpointing or contextlib.nullcontext()

    def __enter__(self) -> AppliedPlan:
        self._context.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._context.__exit__(*exception)

    def backward(self, loss: Tensor, **options: Any) -> None:
        """Runs backward, with what the compressor measures when that is due."""
        if self.compressor is None:
            loss.backward(**options)
        else:
            self.compressor.backward(loss, **options)


def applied(
    model: nn.Module, compress: bool, checkpoint: bool | tuple[str, ...], options: dict[str, Any]
) -> AppliedPlan:
    """The context for what was chosen.

    Args:
        model: The network.
        compress: Whether saved tensors are held in codes.
        checkpoint: Blocks that run again: none, the repeated ones, or those of these names.
        options: Arguments of ``Compressor``.
    """
    if compress:
        return AppliedPlan(Compressor(model, checkpoint=checkpoint, **options))
    if checkpoint is False:
        return AppliedPlan()
    return AppliedPlan(checkpointing=Checkpointing(model, None if checkpoint is True else checkpoint))


def applied_level(model: nn.Module, level: Level, offload: str | None, options: dict[str, Any]) -> AppliedPlan:
    """The context of a level. One that exchanges attention does so in the model, for good: backward needs it too.

    Args:
        model: The network.
        level: The level.
        offload: Where codes go that are to lie elsewhere; None for what suits the model.
        options: Arguments of ``Compressor``.
    """
    if level.attention:
        exchange_attention(model)
    options = {"compress_again": level.compresses_again, **options}
    if level.offload:
        options = {"offload": offload or offload_of(model), **options}
    return applied(model, level.compress, level.checkpoint, options)

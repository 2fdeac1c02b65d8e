"""What a backward pass of our own must leave as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def preserved_state(model: torch.nn.Module | None) -> Iterator[None]:
    """Restores random states, and buffers that were changed, at the end.

    Backward changes neither by itself, but it may run parts of forward again (checkpointing), which draw and count.

    Args:
        model: Its buffers are watched.
    """
    buffers = [] if model is None else [(each, each._version, each.detach().clone()) for each in model.buffers()]
    devices = {each.device for each in model.parameters()} if model is not None else set()
    cuda = [device for device in devices if device.type == "cuda"]
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        with torch.no_grad():
            for buffer, version, value in buffers:
                if buffer._version != version:
                    buffer.copy_(value)

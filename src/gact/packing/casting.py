"""What is done for a code is done in the dtypes that it is written in, whatever autocast the network runs under."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from ..saved.save import Save

_F = TypeVar("_F", bound=Callable[..., None])


def outside_of_autocast(function: _F) -> _F:
    """Runs a method that takes a save first with autocast switched off.

    Autocast joins no parts of another dtype of 16 bits than its own, as metadata are, and would round products.
    """

    @functools.wraps(function)
    def run(owner: Any, save: Save, *arguments: Any) -> None:
        device = "cpu" if save.tensor is None else save.tensor.device.type
        if not torch.is_autocast_enabled(device):
            return function(owner, save, *arguments)
        with torch.autocast(device, enabled=False):
            return function(owner, save, *arguments)

    return run  # type: ignore[return-value]

"""What an op made that can be rebuilt, without what it was made of."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch

from ..saved.origins import Origin


class Made(NamedTuple):
    """What an op made, without what it was made of.

    Attributes:
        size: Its size.
        stride: Stride in which it is rebuilt.
        dtype: Its dtype.
        device: Type of its device.
        autocast: Dtype of autocast when it was made; None if that was off.
        depth: How many recipes lie between it and codes.
        origin: Whose roundings it has, and how.
    """

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: str
    autocast: torch.dtype | None
    depth: int
    origin: Origin

    def under(self) -> contextlib.AbstractContextManager[object]:
        """The autocast under which it was made; that of a device may be missing, and then nothing is switched."""
        if self.autocast is None and not torch.is_autocast_enabled(self.device):
            return contextlib.nullcontext()
        return torch.autocast(self.device, self.autocast, self.autocast is not None)

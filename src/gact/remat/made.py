"""What an op made that can be rebuilt, without what it was made of."""

from __future__ import annotations

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

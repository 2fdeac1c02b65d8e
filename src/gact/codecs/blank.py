"""A region of which backward reads size, stride, dtype and device, and no element."""

from __future__ import annotations

import torch
from torch import Tensor


class Blank:
    """Nothing of a region but its dtype and device.

    Args:
        region: The region.
        value: What every element is given back as.
    """

    __slots__ = ("_like", "_value", "dtype")

    name = "shape"
    bits = 0
    nbytes = 0
    offloaded_bytes = 0
    parts: tuple[str, ...] = ()

    def __init__(self, region: Tensor, value: float = 0.0) -> None:
        self._value = value
        self._like = region.new_empty(0)
        self.dtype: torch.dtype = region.dtype

    def loaded(self) -> Blank:
        """The code itself."""
        return self

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """That value in every element, of that size and stride."""
        return self._like.new_empty_strided(size, stride).fill_(self._value)

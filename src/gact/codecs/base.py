"""What all codes have in common."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Code(Protocol):
    """A dense region in some code; one file each under ``codecs/``."""

    name: str

    @property
    def bits(self) -> int:
        """Width of a code."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held, metadata included."""
        ...

    @property
    def offloaded_bytes(self) -> int:
        """Bytes that lie in a store instead."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the region."""
        ...

    def loaded(self) -> Code:
        """The code with its data on the device of the region, where it can be."""
        ...

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride."""
        ...

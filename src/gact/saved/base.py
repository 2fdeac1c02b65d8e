"""What gives a saved region back, however it is held."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..codecs.fused import Pass
from ..codecs.layout import Layout
from ..records import Decision
from .origins import Origin


class Held(Protocol):
    """A region that can be given back: held as codes, or rebuilt from others that are.

    Attributes:
        bits: Width of the narrowest code that its values come from.
        depth: How many recipes lie between it and codes.
        dtype: Dtype of the region.
        decision: What the report says of it.
        origin: Which narrow codes it comes from.
        readers: Saves of it that share what is decoded and have not been read yet.
    """

    readers: int

    @property
    def bits(self) -> int:  # noqa: D102
        ...

    @property
    def depth(self) -> int:  # noqa: D102
        ...

    @property
    def dtype(self) -> torch.dtype:  # noqa: D102
        ...

    @property
    def decision(self) -> Decision:  # noqa: D102
        ...

    @property
    def origin(self) -> Origin:  # noqa: D102
        ...

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout."""
        ...

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """The pass over codes that writes the region to memory of that size and stride; None if there is none."""
        ...

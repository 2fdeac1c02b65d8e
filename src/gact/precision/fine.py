"""Finer codes of a step in which sensitivities are measured."""

from __future__ import annotations

import torch
from torch import Tensor

from ..codecs.fused import Pass
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..codecs.sums import Rows
from ..codecs.transformed import Transformed
from ..saved.encoded import Encoded


class Fine(Encoded):
    """One region in finer codes than its site is to have, in a step in which the effect of its rounding is measured.

    Args:
        code: The finer codes.
        bits: Width that the site has now. It is what sharing goes by, so that the step shares as every other does.
        rows: How rows that add to one lie in memory; None if there are none.

    Attributes:
        noise: Width and key of a rounding that unpacking adds; None for none.
        is_read: Whether it was unpacked since this was last set to False.
    """

    __slots__ = ("_bits", "is_read", "noise")

    def __init__(self, code: Groups, bits: int, rows: Rows | None = None) -> None:
        super().__init__(code, rows)
        self.noise: tuple[int, int] | None = None
        self.is_read = False
        self._bits = bits

    @property
    def bits(self) -> int:
        """Width that the site has now."""
        return self._bits

    @property
    def widening(self) -> float:  # type: ignore[override]
        """What noise does to the deviation: a group's step is in inverse proportion to its levels."""
        return 1.0 if self.noise is None else ((1 << self.code.bits) - 1) / ((1 << self.noise[0]) - 1)

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout, rounded once more if noise is asked for."""
        self.is_read = True
        size, stride = layout.dense, layout.region_stride
        code = self.code.loaded()
        if self.noise is None or not isinstance(code, Groups):
            return super().decode(layout)
        return layout.restore(self.completed(code.decode_rounded(size, stride, *self.noise)))

    def bent(self) -> Groups | None:
        """Its codes, if they are of values under a hyperbola; None where noise is asked for."""
        self.is_read = True
        return super().bent() if self.noise is None else None

    def boxed(self) -> Transformed | None:
        """Its codes, if they are of places in boxes; None where noise is asked for."""
        self.is_read = True
        return super().boxed() if self.noise is None else None

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """The pass that decodes; None where noise is asked for."""
        self.is_read = True
        return super().one_pass(size, stride) if self.noise is None else None

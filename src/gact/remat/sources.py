"""What a rebuilt tensor is made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..codecs.fused import Pass
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..codecs.masks import Mask
from ..codecs.transformed import Transformed
from ..saved.base import Held
from ..saved.encoded import Encoded
from ..saved.kept import Copied, Kept
from .shifted import Shifted


class Source:
    """One input of a derived tensor: a held region in a layout, or a tensor kept or copied exactly."""

    __slots__ = ("bits", "held", "layout")

    def __init__(self, held: Held | Kept | Copied, layout: Layout | None) -> None:
        self.held = held
        self.layout = layout
        self.bits: int = getattr(held, "bits", 32)

    def value(self) -> Tensor:
        """The input: fresh memory for a held region, the tensor itself for a kept one."""
        held = self.held
        if isinstance(held, (Kept, Copied)):
            return held.unpack()
        assert self.layout is not None
        return held.decode(self.layout)

    @property
    def dtype(self) -> torch.dtype | None:
        """Dtype of a held region; None for a tensor kept or copied exactly."""
        return getattr(self.held, "dtype", None)

    @property
    def depth(self) -> int:
        """How many recipes lie between it and codes."""
        return 0 if isinstance(self.held, (Kept, Copied)) else self.held.depth

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """The pass over codes that writes its value to memory of that size and stride; None if there is none."""
        layout, held = self.layout, self.held
        if isinstance(held, (Kept, Copied)) or not _reads_all(layout, size, stride):
            return None
        return held.one_pass(size, stride)

    def bent(self, size: torch.Size, stride: tuple[int, ...]) -> Groups | None:
        """The codes of values under a hyperbola that it is, if all are read in that layout; None if it is none."""
        layout, held = self.layout, self.held
        return held.bent() if isinstance(held, Encoded) and _reads_all(layout, size, stride) else None

    def boxed(self, size: torch.Size, stride: tuple[int, ...]) -> Transformed | None:
        """The codes of places in boxes that it is, if all are read in that layout; None if it is none."""
        layout, held = self.layout, self.held
        return held.boxed() if isinstance(held, Encoded) and _reads_all(layout, size, stride) else None

    @property
    def is_fresh(self) -> bool:
        """Whether its value may be overwritten: nobody else has its memory, and its elements do not overlap."""
        layout = self.layout
        return layout is not None and not isinstance(self.held, Kept) and layout.dense == layout.size

    @property
    def roots(self) -> tuple[Encoded, ...]:
        """The narrow codes that its value comes from."""
        held = self.held
        if isinstance(held, Encoded):
            return (held,) if held.is_narrow else ()
        found: tuple[Encoded, ...] = getattr(held, "roots", ())
        return found

    def moved(self, root: Encoded | None, times: float) -> Source:
        """This source, where a root is off by so many deviations of its error."""
        if self.held is root:
            return Source(Shifted(root, times), self.layout)
        move: Callable[[Encoded | None, float], Held] | None = getattr(self.held, "moved", None)
        return self if move is None or not self.roots else Source(move(root, times), self.layout)

    def mask_(self, x: Tensor, factors: tuple[float, float] | None = None) -> None:
        """Multiplies a tensor by this source, a mask of its elements, or by two numbers where its bit is 0 and 1."""
        assert self.layout is not None
        if isinstance(self.held, Encoded):
            self.held.mask_(x, self.layout, factors)
        else:
            x.mul_(self.value())

    def erasing(self) -> Mask | None:
        """The mask that this source is, if it is one that erases what it does not let pass."""
        code = self.held.code.loaded() if isinstance(self.held, Encoded) and self.held.code.name == Mask.name else None
        return code if isinstance(code, Mask) and code.test.off == 0 else None

    def charge(self) -> int:
        """Bytes held for this source alone, once: those of a copy that no other recipe has been charged for."""
        charge: Callable[[], int] | None = getattr(self.held, "charge", None)
        return 0 if charge is None else charge()


def _reads_all(layout: Layout | None, size: torch.Size, stride: tuple[int, ...]) -> bool:
    """Whether a region is read as it is, in that size and stride."""
    if layout is None or layout.copied:
        return False
    return layout.dense == size and layout.size == size and layout.stride == stride

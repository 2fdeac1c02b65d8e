"""A region held as codes."""

from __future__ import annotations

import weakref
from typing import cast

import torch
from torch import Tensor

from ..codecs.base import Code
from ..codecs.boxes import Boxes
from ..codecs.chunks import flat_of
from ..codecs.exact import Exact
from ..codecs.fused import DTYPES, Decoded, Pass
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..codecs.masks import Mask
from ..codecs.sums import Rows, add_to_one_
from ..codecs.transformed import Transformed
from ..records import Decision, Site
from .origins import EXACT, NARROW, Origin


class Encoded:
    """One region as codes, shared by every save of the same region of the same storage at the same version.

    Args:
        code: The codes.
        rows: How rows that add to one lie in memory; None if there are none.

    Attributes:
        owner: Who is charged for the code.
    """

    __slots__ = ("__weakref__", "code", "owner", "readers", "rows")

    depth = 0
    widening = 1.0
    """How many times as large as that of the code the deviation of what is decoded is."""

    def __init__(self, code: Code, rows: Rows | None = None) -> None:
        self.code = code
        self.rows = rows
        self.owner: Site | None = None
        self.readers = 0

    @property
    def is_narrow(self) -> bool:
        """Whether it is rounded so that a curve of it is off on average."""
        return self.code.name == Groups.name and self.code.bits <= NARROW

    @property
    def origin(self) -> Origin:
        """Itself, if it is narrow."""
        return Origin(frozenset((weakref.ref(self),))) if self.is_narrow else EXACT

    @property
    def bits(self) -> int:
        """Width of its code."""
        return self.code.bits

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the region."""
        return self.code.dtype

    @property
    def decision(self) -> Decision:
        """Its codec and width."""
        return Decision.code(self.code.name, self.code.bits)

    def give_way(self, region: Tensor) -> int:
        """Holds the region itself, which another save keeps, instead of the code; returns the bytes that this frees."""
        freed = self.code.nbytes
        self.code, self.rows = Exact(region), None
        return freed

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout, which must have the region of these codes."""
        return layout.restore(self.completed(self.code.decode(layout.dense, layout.region_stride)))

    def completed(self, region: Tensor) -> Tensor:
        """A decoded region whose rows add to what they have to."""
        if self.rows is not None:
            add_to_one_(flat_of(region), self.rows)
        return region

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """The pass that decodes to memory of the size and stride of the region; None if there is none."""
        code = self.code
        if self.rows is not None or code.name != Groups.name or code.dtype not in DTYPES:
            return None
        return Pass.over(cast(Decoded, code))

    def bent(self) -> Groups | None:
        """Its codes on their device, if they are of values under a hyperbola; None if not."""
        code = self.code
        return cast(Groups, code.loaded()) if getattr(code, "bent", None) is not None else None

    def boxed(self) -> Transformed | None:
        """Its codes on their device, if they are of places in boxes; None if not."""
        code = self.code
        if self.rows is not None or not isinstance(getattr(code, "transform", None), Boxes):
            return None
        return cast(Transformed, code.loaded())

    def mask_(self, x: Tensor, layout: Layout, factors: tuple[float, float] | None = None) -> None:
        """Multiplies a tensor of that layout by a mask, in place; by two numbers where its bit is 0 and 1 if given."""
        code = self.code.loaded()
        if isinstance(code, Mask):
            code.apply_(x, factors)
        else:
            x.mul_(self.decode(layout))

"""What autograd holds for a tensor that is rebuilt: a recipe with sources that are held outright.

NOTE: One pass
Rebuilding is bound by memory, so what one pass can do is done in one: see ``passes.py``. Of a sum the shallower term is
such a pass, which adds to the other term where that lies. Where the other term is a pass too, and so on, all of them
run tile by tile: a chain of residual sums goes over memory once and holds one tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .codecs.masks import Mask
from .layout import Layout
from .makers import Rebuild
from .packed import Copied, Encoded, Held, Kept
from .passes import DTYPES, Pass
from .records import Decision

if TYPE_CHECKING:
    from .recipes import Recipe


class Derived:
    """A region rebuilt by an op from sources that are held.

    Args:
        rebuild: Makes the tensor from its sources.
        sources: What gives each of them.
        recipe: The note it came from.
    """

    __slots__ = ("__weakref__", "bits", "depth", "readers", "rebuild", "recipe", "sources")

    def __init__(self, rebuild: Rebuild, sources: Sequence[Source], recipe: Recipe) -> None:
        self.rebuild = rebuild
        self.sources = sources
        self.recipe = recipe
        self.depth = recipe.depth
        self.readers = 0
        self.bits = min((source.bits for source in sources), default=32)

    def charge(self) -> int:
        """Bytes of the small copies that this recipe holds and no other has been charged for."""
        return sum(source.charge() for source in self.sources)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the region."""
        return self.recipe.dtype

    @property
    def decision(self) -> Decision:
        """Derived."""
        return Decision.derived()

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout."""
        recipe = self.recipe
        with torch.no_grad(), torch.autocast(recipe.device, recipe.autocast, recipe.autocast is not None):
            rebuilt = self._rebuilt()
        if rebuilt.stride() != recipe.stride or rebuilt.dtype != recipe.dtype:
            exact = torch.empty_strided(rebuilt.size(), recipe.stride, dtype=recipe.dtype, device=rebuilt.device)
            rebuilt = exact.copy_(rebuilt)
        return rebuilt.as_strided(layout.size, layout.stride)

    def _rebuilt(self) -> Tensor:
        """The op's result, in one pass if it can be had so."""
        recipe = self.recipe
        found = self.one_pass(recipe.size, recipe.stride) if recipe.dtype in DTYPES else None
        if found is not None:
            return found.run(recipe.size, recipe.stride, recipe.dtype)
        return self._masked() if self.rebuild.masked else self._made()

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """The pass over codes that writes the result to memory of that size and stride; None if there is none."""
        rebuild, sources = self.rebuild, self.sources
        if not rebuild.passes or size != self.recipe.size or stride != self.recipe.stride:
            return None
        if rebuild.adds:
            return self._sum(size, stride)
        found = sources[0].one_pass(size, stride)
        if found is None or rebuild.casts:
            return found
        if rebuild.masked:
            return found.masked(sources[1])
        if rebuild.lines is None or not found.is_bare:
            return None
        lines = rebuild.lines(size, stride, *(source.value() for source in sources[1:]))
        return None if lines is None else found.under(lines)

    def _sum(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """A pass that adds the shallower term to the deeper one, or the deeper one if only that is a pass."""
        deep, shallow = sorted(self.sources, key=lambda source: -source.depth)
        for term, base in ((shallow, deep), (deep, shallow)):
            found = term.one_pass(size, stride)
            if found is not None and found.is_bare:
                return found.onto(base)
        return None

    def _masked(self) -> Tensor:
        """The first source times the mask."""
        source, mask = self.sources
        value = source.value()
        fits = source.is_fresh and value.dtype is self.recipe.dtype
        target = value if fits else value.to(self.recipe.dtype, copy=True)
        mask.mask_(target)
        return target

    def _made(self) -> Tensor:
        """What the op makes of the values of its sources, in the memory of the first where that is fresh and fits."""
        rebuild, recipe, sources = self.rebuild, self.recipe, self.sources
        made: dict[int, Tensor] = {}
        # The longest chain first, so that a sum of sums holds two tensors at a time and not as many as it has terms.
        for index in sorted(range(len(sources)), key=lambda index: -sources[index].depth):
            made[index] = sources[index].value()
        values = [made[index] for index in range(len(sources))]
        made.clear()
        fits = sources[0].is_fresh and values[0].size() == recipe.size
        if fits and rebuild.overwrite is not None and all(each.dtype is recipe.dtype for each in values):
            return rebuild.overwrite(*values)
        result = rebuild.make(*values)
        # An op that had nothing to do, such as a cast to the same dtype, hands back its source.
        kept = [each for each, source in zip(values, sources, strict=True) if not source.is_fresh]
        memory = result.untyped_storage()._cdata
        return result.clone() if any(each.untyped_storage()._cdata == memory for each in kept) else result


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
        if layout is None or isinstance(held, (Kept, Copied)):
            return None
        if layout.copied or layout.dense != size or layout.size != size or layout.stride != stride:
            return None
        return held.one_pass(size, stride)

    @property
    def is_fresh(self) -> bool:
        """Whether its value may be overwritten: nobody else has its memory, and its elements do not overlap."""
        layout = self.layout
        return layout is not None and not isinstance(self.held, Kept) and layout.dense == layout.size

    def mask_(self, x: Tensor) -> None:
        """Multiplies a tensor by this source, a mask of its elements."""
        assert self.layout is not None
        if isinstance(self.held, Encoded):
            self.held.mask_(x, self.layout)
        else:
            x.mul_(self.value())

    def erasing(self) -> Mask | None:
        """The mask that this source is, if it is one that erases what it does not let pass."""
        code = self.held.code.loaded() if isinstance(self.held, Encoded) and self.held.code.name == Mask.name else None
        return code if isinstance(code, Mask) and code.test.off == 0 else None

    def charge(self) -> int:
        """Bytes held for this source alone, once: those of a copy that no other recipe has been charged for."""
        return self.held.charge() if isinstance(self.held, (Copied, Derived)) else 0

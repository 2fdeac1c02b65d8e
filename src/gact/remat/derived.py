"""What autograd holds for a tensor that is rebuilt: a recipe with sources that are held outright.

NOTE: One pass
Rebuilding is bound by memory, so what one pass can do is done in one (``codecs/fused.py``). Of a sum the shallower
term is such a pass, which adds to the other term where that lies. Where the other term is a pass too, and so on, all of
them run tile by tile: a chain of residual sums goes over memory once and holds one tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..codecs.chunks import flat_of
from ..codecs.fused import DTYPES, Pass
from ..codecs.layout import Layout
from ..codecs.transformed import LARGEST_HALF
from ..records import Decision
from ..saved.encoded import Encoded
from ..saved.origins import Origin, bends
from .curvature import unbent
from .made import Made
from .rules import Rebuild
from .sources import Source


class Derived:
    """A region rebuilt by an op from sources that are held.

    Args:
        rebuild: Makes the tensor from its sources.
        sources: What gives each of them.
        made: What the op made.
        plain: Whether it is what the ops give, though it bends.

    Attributes:
        roots: The narrow codes it comes from.
        bends: Whether it is no linear function of them, so that their rounding moves its average.
    """

    __slots__ = ("__weakref__", "bends", "bits", "depth", "made", "readers", "rebuild", "roots", "sources")

    def __init__(self, rebuild: Rebuild, sources: Sequence[Source], made: Made, plain: bool = False) -> None:
        self.rebuild = rebuild
        self.sources = sources
        self.made = made
        self.depth = made.depth
        self.readers = 0
        self.bits = min((source.bits for source in sources), default=32)
        roots = [source.roots for source in sources]
        self.roots: tuple[Encoded, ...] = tuple({id(root): root for each in roots for root in each}.values())
        self.bends = not plain and bends(rebuild.kind, roots)

    def charge(self) -> int:
        """Bytes of the small copies that this recipe holds and no other has been charged for."""
        return sum(source.charge() for source in self.sources)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the region."""
        return self.made.dtype

    @property
    def decision(self) -> Decision:
        """Derived."""
        return Decision.derived()

    @property
    def origin(self) -> Origin:
        """Which narrow codes it comes from."""
        return self.made.origin

    def moved(self, root: Encoded | None, times: float) -> Derived:
        """What its ops give, bends included, where a root is off by so many deviations of its error."""
        sources = [source.moved(root, times) for source in self.sources]
        return Derived(self.rebuild, sources, self.made, plain=True)

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout."""
        made = self.made
        with torch.no_grad(), made.under():
            rebuilt = self.rebuilt()
        if rebuilt.stride() != made.stride or rebuilt.dtype != made.dtype:
            exact = torch.empty_strided(rebuilt.size(), made.stride, dtype=made.dtype, device=rebuilt.device)
            rebuilt = exact.copy_(rebuilt)
        return rebuilt.as_strided(layout.size, layout.stride)

    def rebuilt(self) -> Tensor:
        """The op's result, in one pass if it can be had so; what its bends add on average is taken away."""
        made = self.made
        if self.bends:
            return unbent(self)
        found = self.one_pass(made.size, made.stride) if made.dtype in DTYPES else None
        if found is not None:
            return found.run(made.size, made.stride, made.dtype)
        result = self._masked() if self.rebuild.masked else self._made()
        if result.dtype != torch.float16:
            return result
        # Rounding must not carry a finite number of the forward pass to infinity.
        limit = torch.clamp if self.rebuild.stated else torch.clamp_
        return limit(result, -LARGEST_HALF, LARGEST_HALF)

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """The pass over codes that writes the result to memory of that size and stride; None if there is none."""
        rebuild, sources = self.rebuild, self.sources
        if not rebuild.passes or size != self.made.size or stride != self.made.stride:
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
        """The first source times the mask, or the bound that it reached."""
        source, mask, *reached = self.sources
        value = source.value()
        fits = source.is_fresh and value.dtype is self.made.dtype
        target = value if fits else value.to(self.made.dtype, copy=True)
        mask.mask_(target, self.rebuild.factors)
        if self.rebuild.high is not None:
            flat_of(target).index_fill_(0, reached[0].value().long(), self.rebuild.high)
        return target

    def _made(self) -> Tensor:
        """What the op makes of the values of its sources, in the memory of the first where that is fresh and fits."""
        rebuild, made, sources = self.rebuild, self.made, self.sources
        found: dict[int, Tensor] = {}
        # The longest chain first, so that a sum of sums holds two tensors at a time and not as many as it has terms.
        for index in sorted(range(len(sources)), key=lambda index: -sources[index].depth):
            found[index] = sources[index].value()
        values = [found[index] for index in range(len(sources))]
        found.clear()
        fits = sources[0].is_fresh and values[0].size() == made.size
        if fits and rebuild.overwrite is not None and all(each.dtype is made.dtype for each in values):
            return rebuild.overwrite(*values)
        result = rebuild.make(*values)
        # An op that had nothing to do, such as a cast to the same dtype, hands back its source.
        kept = [each for each, source in zip(values, sources, strict=True) if not source.is_fresh]
        memory = result.untyped_storage()._cdata
        return result.clone() if any(each.untyped_storage()._cdata == memory for each in kept) else result

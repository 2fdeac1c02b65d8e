"""Tensors that are rebuilt instead of stored: a cheap op of tensors that are held already.

NOTE: Derived tensors
A linear layer saves GELU's output, and GELU has saved its own input: one of the two is enough. While a context is
open, the output of every op named in ``rules.py`` is noted with how to make it again. When such an output is saved
by a consumer that reads it linearly, and all its sources are held (as codes, as parameters or as small tensors),
only the recipe is kept, and unpacking runs the op on what unpacking the sources gives. Notes hold the sources
weakly, so they keep nothing alive; what is packed holds them outright. A sign or an index is never taken from a
rebuilt value.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import StorageWeakRef
from ..codecs.layout import Layout
from ..saved.base import Held
from ..saved.held import HeldRegions
from ..saved.identity import Identity, Place
from ..saved.kept import Copied, Kept
from ..saved.ledger import Ledger
from ..saved.origins import EXACT, Origin, is_unbiased, joined
from ..saved.steps import Steps
from .derived import Derived
from .made import Made
from .rules import Rebuild
from .sources import Source

DEEPEST = 10
"""A chain of more recipes than this is cut by storing a tensor."""


class Recipe:
    """How an op made a tensor, without holding it or its sources.

    Args:
        rebuild: Makes the tensor from its sources.
        links: For each source a kept tensor, or a weak reference to what is held or another recipe, with its layout.
        result: The tensor.
        stride: Stride in which it is rebuilt, if that is not its own.
        shrinks: Whether it lies in a far smaller range than a source.
        uneven: Whether an exact factor has elements of very different sizes.

    Attributes:
        is_doubtful: Whether rounding may have drowned it, or what it is made of.
        is_uneven: Whether it may have drowned a few groups.
    """

    __slots__ = ("_derived", "_links", "_rebuild", "is_doubtful", "is_later", "is_uneven", "made", "storage")

    def __init__(
        self,
        rebuild: Rebuild,
        links: Sequence[Link],
        result: Tensor,
        stride: tuple[int, ...] | None = None,
        shrinks: bool = False,
        uneven: bool = False,
    ) -> None:
        behind = [each.target for each in links if type(each.target) is Recipe]
        self.is_uneven: bool = uneven or any(each.is_uneven for each in behind)
        self.is_doubtful: bool = shrinks or self.is_uneven or any(each.is_doubtful for each in behind)
        self._rebuild = rebuild
        self._links = links
        self._derived: weakref.ref[Derived] | None = None
        self.is_later = any(type(link.target) is Later for link in links)
        self.storage = StorageWeakRef(result.untyped_storage())
        size, device = result.size(), result.device.type
        stride = result.stride() if stride is None else stride
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        depth = 1 + max((link.depth for link in links), default=0)
        origin = joined(rebuild.kind, links, size, stride)
        self.made = Made(size, stride, result.dtype, device, autocast, depth, origin)

    @property
    def depth(self) -> int:
        """How many recipes lie between it and codes."""
        return self.made.depth

    @property
    def origin(self) -> Origin:
        """Whose roundings it has, and how."""
        return self.made.origin

    @property
    def is_unbiased(self) -> bool:
        """Whether what it makes is right on average."""
        return is_unbiased(self._rebuild.kind, self._links, self.made.origin)

    def resolve(self) -> Derived | None:
        """What rebuilds the tensor, shared by all who ask; None if a source is no longer held."""
        derived = self._derived() if self._derived is not None else None
        if derived is None:
            sources = [link.resolve() for link in self._links]
            found = [source for source in sources if source is not None]
            if len(found) < len(sources):
                return None
            derived = Derived(self._rebuild, found, self._made_now() if self.is_later else self.made)
            if derived.depth > DEEPEST:
                return None
            self._derived = weakref.ref(derived)
        return derived

    def _made_now(self) -> Made:
        """What it makes, with the origin and depth that its sources have, now that they are held."""
        links = [link.now() for link in self._links]
        origin = joined(self._rebuild.kind, links, self.made.size, self.made.stride)
        return self.made._replace(origin=origin, depth=1 + max(link.depth for link in links))


class Later:
    """A region that nobody held yet when an op read it.

    Args:
        place: Its place. The storage is kept from giving its identity to another one.
        held: Where to look for it.
    """

    __slots__ = ("_held", "_identity", "_storage")

    def __init__(self, place: Place, held: HeldRegions) -> None:
        self._identity = place.identity
        self._storage = StorageWeakRef(place.region.untyped_storage())
        self._held = held

    def __call__(self) -> Held | None:
        """What holds its values now; None if nobody does."""
        return self._held.value(self._identity)


class Link:
    """A recipe's way to one of its sources.

    Args:
        target: A kept tensor, a recipe, a weak reference to a held region, or one that may be held later.
        layout: Layout in which the op read a region.
    """

    __slots__ = ("depth", "layout", "origin", "target")

    def __init__(
        self, target: Kept | Copied | Recipe | Later | weakref.ref[Any], layout: Layout | None, depth: int
    ) -> None:
        self.target = target
        self.layout = layout
        self.depth = depth
        source = target() if isinstance(target, weakref.ref) else target
        self.origin: Origin = getattr(source, "origin", EXACT)

    def resolve(self) -> Source | None:
        """The source, held outright from now on; None if it is gone."""
        target = self.target
        if isinstance(target, Recipe):
            derived = target.resolve()
            return None if derived is None else Source(derived, self.layout)
        if isinstance(target, (weakref.ref, Later)):
            held = target()
            return None if held is None else Source(held, self.layout)
        return Source(target, None)

    def now(self) -> Link:
        """The same way, of what is held now where that was not known before."""
        held = self.target() if isinstance(self.target, Later) else None
        return self if held is None else Link(weakref.ref(held), self.layout, held.depth)


class Recipes:
    """The recipes of what one thread made in the current step, by identity of the result.

    Args:
        steps: Tells when a new step has begun and the notes of the last one are void.

    Attributes:
        last_mask: The mask that this thread held last: how the op that saved it is told.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._number = steps.count
        self.last_mask: weakref.ref[Any] | None = None
        self._known: dict[Identity, Recipe] = {}
        self._storages: set[int] = set()

    @property
    def ledger(self) -> Ledger:
        """Where the bytes of the step are counted."""
        return self._steps.ledger

    def add(
        self,
        identity: Identity,
        rebuild: Rebuild,
        links: Sequence[Link],
        result: Tensor,
        shrinks: bool = False,
        uneven: bool = False,
    ) -> None:
        """Notes how a tensor was made, unless the chain behind it is too long, or bends rounded values too much."""
        if self._number != self._steps.count:
            self._number = self._steps.count
            self.clear()
        recipe = Recipe(rebuild, links, result, shrinks=shrinks, uneven=uneven)
        if recipe.depth <= DEEPEST and recipe.is_unbiased:
            self._known[identity] = recipe
            self._storages.add(identity[0])

    def clear(self) -> None:
        """Forgets all recipes, and lets go of the small copies that they hold."""
        self.last_mask = None
        self._known.clear()
        self._storages.clear()

    def touches(self, storage: int) -> bool:
        """Whether some region of a storage may have a recipe: a first look that costs little."""
        return storage in self._storages

    def find(self, identity: Identity, later: bool = False) -> Recipe | None:
        """The recipe of a tensor, if one is known.

        Args:
            identity: Of the tensor.
            later: Whether sources may be held since the recipe was noted; of those it was not told what they bring.
        """
        recipe = self._known.get(identity)
        return None if recipe is None or (recipe.is_later and not later) else recipe


def link_to(place: Place, held: HeldRegions, recipes: Recipes, form: str = "") -> Link | None:
    """The way to what is held for a place, or else to its recipe; None if there is neither.

    Args:
        place: The place.
        held: What is held.
        recipes: What can be rebuilt.
        form: A form that serves besides.
    """
    value = held.value(place.identity, form=form)
    if value is not None:
        return Link(weakref.ref(value), place.layout, value.depth)
    recipe = recipes.find(place.identity)
    return None if recipe is None else Link(recipe, place.layout, recipe.depth)

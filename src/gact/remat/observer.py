"""Watches the ops whose results can be rebuilt and notes their recipes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand, transform_level
from ..codecs.chunks import flat_of
from ..codecs.integers import Integers
from ..saved.base import Held
from ..saved.encoded import Encoded
from ..saved.held import HeldRegions
from ..saved.identity import Place, locate
from ..saved.kept import Copied, Kept
from ..saved.parameters import PLAIN
from ..saved.small import Small
from ..saved.straight import straightened
from . import rules
from .curves import checked
from .recipes import Later, Link, Recipes, link_to
from .shrunk import NEITHER, Look, Shrunk, is_rounded, is_uneven, look_at, shrunk

Run = Callable[[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], Any]

_COPY_SHARE = 16
"""A source that is not held is copied if it is this many times smaller than what it helps to rebuild."""
_FEW_REACHED, _MOST_PLACES = 20, 2**31
"""One in so many elements may have reached a bound, for 1.6 bits each; places are numbers of 32 bits."""


class Observer:
    """Runs the ops in ``rules.DERIVABLE`` and notes how to make their results again.

    Args:
        recipes: Where notes go.
        held: What is held already.
        small: Results smaller than this are of no interest.
        op: Runs an op and has what it saves held.
    """

    def __init__(self, recipes: Recipes, held: HeldRegions, small: Small, op: Run) -> None:
        self._recipes = recipes
        self._held = held
        self._small = small
        self._op = op

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Runs an op, and notes its recipe if its result is large, needs a gradient and can be rebuilt."""
        least, is_large = self._small.bytes or 1, False
        for value in args:
            # Small calls are most of all calls: leave at the first look.
            if not isinstance(value, Tensor):
                is_large |= isinstance(value, (list, tuple))
            elif value.layout is not torch.strided:
                return self._op(func, args, kwargs)  # a sparse tensor has no bytes of its own to be asked for
            elif value.nbytes >= least:
                is_large = True
        if not is_large or not torch.is_grad_enabled() or transform_level() is not None:
            return self._op(func, args, kwargs)
        if func in rules.SAVING_RESULTS:

            def noted(*args: Any, **kwargs: Any) -> Any:
                result = func(*args, **kwargs)
                if self._is_of_interest(result):
                    self._note(func, args, kwargs, result)
                return result

            return self._op(noted, args, kwargs)
        if func not in rules.OVERWRITING:
            result = self._op(func, args, kwargs)
            if self._is_of_interest(result):
                self._note(func, args, kwargs, result)
            return result
        # An in-place op changes the version of its input, so inputs are identified before it runs.
        making = rules.making(func, args, kwargs)
        places = None if making is None else self._places(making.sources)
        before = None
        if making is not None and places is not None and making.inplace:
            before = _looks_at(making)
        self._recipes.last_mask = None
        result = self._op(func, args, kwargs)
        if making is not None and places is not None and self._is_of_interest(result):
            self._add(making, places, result, before=before)
        return result

    def _note(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Tensor) -> None:
        """Notes the recipe of an op that left its sources as they were."""
        for source in args:
            # Most results cannot be rebuilt because a source is not held: find that out first.
            if isinstance(source, Tensor) and not _is_small(source, result) and not self._is_held(source, func):
                if func in rules.SCALING:
                    self._note_later(func, args, kwargs, result)
                return
        making = rules.making(func, args, kwargs)
        places = None if making is None else self._places(making.sources)
        if making is not None and places is not None:
            self._add(checked(func, making, result), places, result, rules.BENT_BY.get(func, ""))

    def _note_later(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Tensor
    ) -> None:
        """Notes the recipe of a tensor times a number: the tensor may be held by the time that the result is saved."""
        if sum(isinstance(value, Tensor) for value in chain(args, kwargs.values())) != 1:
            return  # as in most products
        making = rules.making(func, args, kwargs)
        places = None if making is None else self._places(making.sources)
        if making is None or places is None:
            return
        source, place = places[0], locate(result)
        if source is None or source.layout.copied or place is None or place.layout.copied:
            return
        if source.identity[:2] != place.identity[:2]:
            link = Link(Later(source, self._held), source.layout, 0)
            self._recipes.add(place.identity, making.rebuild, [link], result)

    def _is_held(self, source: Tensor, func: Callable[..., Any]) -> bool:
        if type(source) not in PLAIN or source.layout is not torch.strided or source.is_inference():
            return False
        storage = source.untyped_storage()._cdata
        is_float = source.dtype.is_floating_point
        if is_float and not self._held.touches(storage) and not self._recipes.touches(storage):
            return False
        place = locate(source)
        if place is None:
            return False
        if not is_float:
            return self._indices(source, place) is not None
        value = self._held.value(place.identity, form=rules.BENT_BY.get(func, ""))
        return bool(value or self._recipes.find(place.identity) or self._held.bent(place.identity))

    def _indices(self, source: Tensor, place: Place) -> Held | None:
        """The integers that are held for a source; None if it has none."""
        return None if source.dtype.is_floating_point else self._held.exact(place.identity, Integers.name)

    def _places(self, sources: list[Tensor]) -> list[Place | None] | None:
        """The places of large sources; None if a source is of a class whose storage may not be looked at."""
        if not all(type(source) in PLAIN and not source.is_inference() for source in sources):
            return None
        return [locate(source) if source.layout is torch.strided else None for source in sources]

    def _is_of_interest(self, result: Any) -> bool:
        if type(result) not in PLAIN or result.layout is not torch.strided:
            return False
        return bool(result.requires_grad and result.nbytes >= (self._small.bytes or 1))

    def _add(
        self,
        making: rules.Making,
        places: list[Place | None],
        result: Tensor,
        form: str = "",
        before: list[Look | None] | None = None,
    ) -> None:
        place = locate(result)
        if place is None or place.layout.copied:
            return
        start = place.identity[:2]
        if any(other is not None and other.identity[:2] == start for other in places) != making.inplace:
            return  # a view of a source, or the source itself
        links = [self._link(source, other, result, form) for source, other in zip(making.sources, places, strict=True)]
        if making.rebuild.masked:
            mask = self._recipes.last_mask
            links.append(None if mask is None or places[0] is None else Link(mask, places[0].layout, 0))
        if making.rebuild.high is not None:
            links.append(_reached(result, making.rebuild.high))
        if making.statistics:
            links.extend(_statistics(result))
        found = [link for link in links if link is not None]
        if len(found) == len(links):
            doubt = _doubt(making, found, result, before)
            self._recipes.add(place.identity, making.rebuild, found, result, doubt.doubtful, doubt.uneven)

    def _link(self, source: Tensor, place: Place | None, result: Tensor, form: str) -> Link | None:
        """The way to a source: what is held for it, how it is rebuilt, or a copy if it is small."""
        if place is not None and not place.layout.copied:
            indices = self._indices(source, place)
            if indices is not None:
                return Link(weakref.ref(indices), place.layout, 0)
            link = link_to(place, self._held, self._recipes, form)
            if link is None and source._version == place.identity[-1]:
                # What is held for one function serves others too if its code is a plain one.
                straight = straightened(self._held, place, self._recipes.ledger)
                link = None if straight is None else Link(weakref.ref(straight), place.layout, straight.depth)
            if link is not None:
                return link
        return Link(self._held.copy(source), None, 0) if _is_small(source, result) else None


def _may_shrink(making: rules.Making) -> bool:
    """Whether the result of an op may be far smaller than its sources."""
    return bool(making.rebuild.slope) or (making.rebuild.kind == "product" and len(making.sources) == 2)


def _doubt(making: rules.Making, links: list[Link], result: Tensor, before: list[Look | None] | None) -> Shrunk:
    """Whether the rounding of the sources may be large beside the result, or beside a part of it."""
    if not _may_shrink(making):
        return NEITHER
    targets = [link.target for link in links]
    first = targets[0]() if targets and isinstance(targets[0], weakref.ref) else None
    if isinstance(first, Encoded) and first.bent() is not None:
        return NEITHER  # far below zero its rounding is small, and above the result is as large
    kind = making.rebuild.kind
    if kind == "product":
        exact = (each for each, target in zip(making.sources, targets, strict=False) if not is_rounded(target))
        if any(map(is_uneven, exact)):
            return Shrunk(doubtful=True, uneven=True)
    if before is None:
        before = [
            look_at(each, kind) if kind == "product" or is_rounded(target) else None
            for each, target in zip(making.sources, targets, strict=False)
        ]
    return shrunk(making.rebuild.slope, kind, before, targets, look_at(result, kind))


def _looks_at(making: rules.Making) -> list[Look | None]:
    """What is seen of the sources of an op that may shrink them."""
    return [look_at(each, making.rebuild.kind) for each in making.sources] if _may_shrink(making) else []


def _is_small(source: Tensor, result: Tensor) -> bool:
    """Whether a source may be copied for the sake of rebuilding a result."""
    return source.layout is torch.strided and source.nbytes * _COPY_SHARE <= result.nbytes


def _reached(result: Tensor, bound: float) -> Link | None:
    """Where a result has reached a bound, exactly; None if that is in many places, or looking would wait."""
    if not is_at_hand(result):
        return None
    reached = flat_of(result.detach()) >= bound
    if int(torch.count_nonzero(reached)) * _FEW_REACHED > result.numel() or result.numel() > _MOST_PLACES:
        return None
    return Link(Copied(reached.nonzero()[:, 0].to(torch.int32), None), None, 0)


def _statistics(result: Tensor) -> list[Link | None]:
    """The exact statistics that a normalisation's node has saved."""
    figures = [getattr(result.grad_fn, name, None) for name in ("_saved_result1", "_saved_result2")]
    return [
        Link(Kept(figure, None), None, 0) if isinstance(figure, Tensor) and figure.numel() else None
        for figure in figures
    ]

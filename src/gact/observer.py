"""Watches the ops whose results can be rebuilt and notes their recipes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level as transform_level

from . import makers
from .held import HeldRegions
from .identity import Identity, identify
from .layout import Layout
from .packed import Kept
from .parameters import PLAIN, Parameters
from .recipes import Link, Recipes

Place = tuple[Identity, Layout] | None


_COPY_SHARE = 16
"""A small source is copied for a recipe if it is at least this many times smaller than what it helps to rebuild."""


class Observer:
    """Runs the ops named in ``makers.DERIVABLE`` and notes how to make their results again.

    Args:
        recipes: Where notes go.
        held: What is held already.
        parameters: Tells weights from activations.
        min_bytes: Results smaller than this are of no interest.
    """

    def __init__(self, recipes: Recipes, held: HeldRegions, parameters: Parameters, min_bytes: int) -> None:
        self._recipes = recipes
        self._held = held
        self._parameters = parameters
        self._min_bytes = max(min_bytes, 1)

    def run(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Runs an op, and notes its recipe if its result is large, needs a gradient and can be rebuilt."""
        if not torch.is_grad_enabled() or transform_level() is not None or not self._is_large(args):
            return func(*args, **kwargs)
        making = makers.making(name, func, args, kwargs)
        if making is None or not all(type(source) in PLAIN and not source.is_inference() for source in making.sources):
            return func(*args, **kwargs)
        # An in-place op changes the version of its input, so inputs are identified before it runs.
        places = [self._place(source) for source in making.sources]
        self._held.last_mask = None
        result = func(*args, **kwargs)
        if type(result) is Tensor and result.requires_grad and result.nbytes >= self._min_bytes:
            self._note(making, places, result)
        return result

    def _is_large(self, args: tuple[Any, ...]) -> bool:
        for value in args:
            if isinstance(value, Tensor):
                if value.nbytes >= self._min_bytes:
                    return True
            elif isinstance(value, (list, tuple)) and any(isinstance(item, Tensor) for item in value):
                return True
        return False

    def _note(self, making: makers.Making, places: list[Place], result: Tensor) -> None:
        place = identify(result)
        if place is None:
            return
        shares = any(other is not None and other[0][:2] == place[0][:2] for other in places)
        if shares != making.inplace:
            return  # a view of a source, or the source itself
        most = result.nbytes // _COPY_SHARE
        links = [self._link(source, other, most) for source, other in zip(making.sources, places, strict=True)]
        if making.masked:
            mask = self._held.last_mask
            links.append(None if mask is None or places[0] is None else Link(mask, places[0][1], 0))
        if making.statistics:
            links.extend(_statistics(result))
        found = [link for link in links if link is not None]
        if len(found) == len(links):
            self._recipes.add(place[0], making.rebuild, found, result)

    def _place(self, source: Tensor) -> Place:
        return identify(source) if source.layout is torch.strided and source.nbytes >= self._min_bytes else None

    def _link(self, source: Tensor, place: Place, most: int) -> Link | None:
        if source.nbytes < self._min_bytes:
            return None if source.nbytes > most else Link(self._held.copy(source), None, 0)
        if place is None or self._parameters.owns(source):
            return None
        identity, layout = place
        held = self._held.value(identity)
        if held is not None:
            return Link(weakref.ref(held), layout, held.depth)
        recipe = self._recipes.find(identity)
        return None if recipe is None else Link(recipe, layout, recipe.depth)


def _statistics(result: Tensor) -> list[Link | None]:
    """The exact statistics that a normalisation's node has saved."""
    figures = [getattr(result.grad_fn, name, None) for name in ("_saved_result1", "_saved_result2")]
    return [
        Link(Kept(figure.detach(), None), None, 0) if isinstance(figure, Tensor) and figure.numel() else None
        for figure in figures
    ]

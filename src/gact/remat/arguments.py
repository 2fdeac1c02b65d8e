"""The arguments of an op that is run again: as they were, with the tensors left open."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor


class Slot:
    """The place of a source among an op's arguments."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


def template(value: Any, sources: list[Tensor]) -> Any:
    """An argument with every tensor replaced by a slot; the tensors are appended to ``sources``.

    What its owner may change before backward is copied: lists, dictionaries, and arrays.
    """
    if isinstance(value, Tensor):
        sources.append(value)
        return Slot(len(sources) - 1)
    if isinstance(value, list) or (isinstance(value, tuple) and any(isinstance(item, Tensor) for item in value)):
        return [template(item, sources) for item in value]
    if isinstance(value, dict):
        return {key: template(item, sources) for key, item in value.items()}
    return copy.copy(value) if hasattr(value, "__array__") or isinstance(value, (set, bytearray)) else value


def filled(value: Any, sources: tuple[Tensor, ...]) -> Any:
    """An argument with every slot replaced by its source; what was a tuple with tensors in it is a list."""
    if isinstance(value, Slot):
        return sources[value.index]
    if isinstance(value, list):
        return [filled(item, sources) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, sources) for key, item in value.items()}
    return value


def run(func: Callable[..., Tensor], args: list[Any], kwargs: dict[str, Any], *sources: Tensor) -> Tensor:
    """Calls a function with the arguments that it had, of these sources."""
    positional = [filled(value, sources) for value in args]
    return func(*positional, **{name: filled(value, sources) for name, value in kwargs.items()})


def run_over(func: Callable[..., Tensor], args: list[Any], kwargs: dict[str, Any], *sources: Tensor) -> Tensor:
    """The same in the memory of the first source."""
    return run(func, args, {**kwargs, "out": sources[0]}, *sources)

"""From which rounded codes a rebuilt tensor comes, and whether it can be told what their rounding does to it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from ..codecs.layout import Layout

NARROW = 5
"""Widest codes whose rounding moves the average of what a curve makes of them.

That is in proportion to the square of a code's step and the noise to the step, so with every bit it is half as large
beside the noise: with 6 bits it is a hundredth of it at most.
"""
MOST_ROOTS = 2
"""Codes of a curve at most: each of them has it computed twice more."""


class Origin(NamedTuple):
    """What a tensor comes from.

    Attributes:
        roots: Weak references to all narrow codes that it comes from.
        aligned: Whether each element comes from the elements in the same place.
        mixed: Whether some element may come from several elements of one code.
    """

    roots: frozenset[weakref.ref[Any]] = frozenset()
    aligned: bool = True
    mixed: bool = False


EXACT = Origin()
"""The origin of what is held exactly, or nearly."""


class Way(Protocol):
    """A way to a source."""

    @property
    def origin(self) -> Origin:
        """The source's origin."""
        ...

    @property
    def layout(self) -> Layout | None:
        """Layout in which it is read."""
        ...


def joined(kind: str, ways: Iterable[Way], size: torch.Size, stride: tuple[int, ...]) -> Origin:
    """The origin of an op's result.

    Args:
        kind: Of the op, as ``Rebuild`` has it.
        ways: The ways to its sources.
        size: Size of the result.
        stride: Its stride.
    """
    rounded = [way for way in ways if way.origin.roots]
    if not rounded:
        return EXACT
    origins = [way.origin for way in rounded]
    roots = frozenset[weakref.ref[Any]]().union(*(origin.roots for origin in origins))
    place = Layout(size, stride, size)
    aligned = kind != "gathered" and all(way.layout == place and way.origin.aligned for way in rounded)
    mixed = any(origin.mixed for origin in origins)
    if kind != "joined" and not aligned and share([origin.roots for origin in origins]):
        mixed = True
    return Origin(roots, aligned, mixed)


def share(roots: Sequence[Iterable[Any]]) -> bool:
    """Whether some root is that of more than one source."""
    each = [root for of_source in roots for root in of_source]
    return len(set(each)) < len(each)


def bends(kind: str, roots: Sequence[Iterable[Any]]) -> bool:
    """Whether an op is no linear function of roots: a curve of one, or the product of sources that have one in common.

    Args:
        kind: Of the op, as ``Rebuild`` has it.
        roots: Those of each source.
    """
    if kind == "product":
        return share(roots)
    return kind in ("curve", "kink") and any(bool(tuple(each)) for each in roots)


def is_unbiased(kind: str, ways: Iterable[Way], origin: Origin) -> bool:
    """Whether an op's result can be rebuilt so that its rounding is right on average.

    Args:
        kind: Of the op, as ``Rebuild`` has it.
        ways: The ways to its sources.
        origin: The origin of its result.
    """
    if not bends(kind, [way.origin.roots for way in ways]):
        return True
    return kind != "kink" and not origin.mixed and len(origin.roots) <= MOST_ROOTS

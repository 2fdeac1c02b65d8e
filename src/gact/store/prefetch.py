"""What will be asked for next: the order of loads, learnt from the last backward pass.

NOTE: Order
What a step puts into a store is numbered in the order of forward. Which number backward asks for after which is noted
and used in the next step; until there is a note, backward is expected to run forward's order in reverse. A wrong guess
costs a read that nobody needed, or one that somebody waits for; it never changes what is given back.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from itertools import pairwise
from typing import Generic, TypeVar

T = TypeVar("T")


class Round(Generic[T]):
    """One step's entries by number, held weakly, and the order in which they were asked for."""

    __slots__ = ("asked", "entries")

    def __init__(self) -> None:
        self.entries: list[weakref.ref[T]] = []
        self.asked: dict[int, None] = {}


class Place(Generic[T]):
    """Where an entry stands: its round and its number there."""

    __slots__ = ("number", "round")

    def __init__(self, owner: Round[T], number: int) -> None:
        self.round = owner
        self.number = number


class Order(Generic[T]):
    """Numbers the entries of a step and guesses which are asked for next. Not safe for threads: callers lock."""

    def __init__(self) -> None:
        self._round: Round[T] = Round()
        self._after: dict[int, int] = {}

    def begin(self) -> None:
        """Starts a new step, and learns from the one that ends if a backward pass has run in it."""
        asked = list(self._round.asked)
        if asked:
            self._after = dict(pairwise(asked))
        self._round = Round()

    def add(self, entry: T) -> Place[T]:
        """Numbers an entry."""
        self._round.entries.append(weakref.ref(entry))
        return Place(self._round, len(self._round.entries) - 1)

    def ask(self, place: Place[T], count: int) -> list[T]:
        """Notes that an entry was asked for.

        Args:
            place: Where it stands.
            count: How many guesses are wanted.

        Returns:
            The entries, alive and not asked for yet, that are expected next; the nearest first.
        """
        asked, entries = place.round.asked, place.round.entries
        asked[place.number] = None
        expected: list[T] = []
        number, left = place.number, 4 * count
        while left and len(expected) < count:
            left -= 1
            number = self._after.get(number, number - 1)
            if not 0 <= number < len(entries):
                break
            entry = entries[number]()
            if entry is not None and number not in asked and entry not in expected:
                expected.append(entry)
        return expected


class Window(Generic[T]):
    """What has been brought back and is not needed longer than room allows; the oldest goes first.

    Args:
        limit: Bytes it may hold. The newest entry stays, however large it is.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._sizes: OrderedDict[T, int] = OrderedDict()

    def add(self, entry: T, nbytes: int) -> list[T]:
        """Adds an entry.

        Returns:
            The entries that had to go.
        """
        self.discard(entry)
        self._sizes[entry] = nbytes
        self.nbytes += nbytes
        gone = []
        while self.nbytes > self.limit and len(self._sizes) > 1:
            oldest, size = self._sizes.popitem(last=False)
            self.nbytes -= size
            gone.append(oldest)
        return gone

    def discard(self, entry: T) -> None:
        """Removes an entry, if it is there."""
        self.nbytes -= self._sizes.pop(entry, 0)

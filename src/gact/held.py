"""What is held already, so that no region is stored twice."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from .codecs.masks import MaskTest
from .identity import Identity
from .packed import Encoded, Held

WIDEST = 8


class HeldRegions:
    """Regions by identity, each held weakly: it goes when the last graph that needs it goes.

    Attributes:
        last_mask: The mask that was held last; the op that saved it may be its only maker to know.
    """

    def __init__(self) -> None:
        self.last_mask: Encoded | None = None
        self._values: WeakValueDictionary[tuple[Identity, Any], Held] = WeakValueDictionary()

    def value(self, identity: Identity, least_bits: int = 1) -> Held | None:
        """What gives the values of a region with at least that many bits, or None."""
        held = self._values.get((identity, "value"))
        if held is not None and held.bits >= least_bits:
            return held
        return self._values.get((identity, "wide"))

    def add_value(self, identity: Identity, held: Held) -> None:
        """Remembers what gives the values of a region."""
        self._values[identity, "wide" if held.bits >= WIDEST else "value"] = held

    def exact(self, identity: Identity, kind: MaskTest | str) -> Held | None:
        """The mask of a region under a test, or its integers; None if it is not held."""
        return self._values.get((identity, kind))

    def add_exact(self, identity: Identity, kind: MaskTest | str, held: Encoded) -> None:
        """Remembers the mask of a region under a test, or its integers."""
        self._values[identity, kind] = held
        if isinstance(kind, MaskTest):
            self.last_mask = held

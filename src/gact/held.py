"""What is held already, so that no region is stored twice."""

from __future__ import annotations

import weakref
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor

from .codecs.masks import MaskTest
from .identity import Identity
from .packed import Copied, Encoded, Held

WIDEST = 8


class HeldRegions:
    """Regions by identity, each held weakly: it goes when the last graph that needs it goes.

    An identity begins with the address of a storage, which the ledger of the step keeps from being reused.

    Attributes:
        last_mask: The mask that was held last: how the op that saved it is told.
    """

    def __init__(self) -> None:
        self._step = 0
        self.last_mask: weakref.ref[Encoded] | None = None
        self._aliases: dict[Identity, Identity] = {}
        self._storages: set[int] = set()
        self._copies: WeakValueDictionary[tuple[Any, ...], Copied] = WeakValueDictionary()
        self._values: WeakValueDictionary[tuple[Identity, Any], Held] = WeakValueDictionary()

    def begin_step(self, number: int) -> None:
        """Forgets what earlier steps hold, so that what a step shares does not depend on how long their graphs live."""
        if number == self._step:
            return
        self._step = number
        self.last_mask = None
        self._aliases.clear()
        self._storages.clear()
        self._copies.clear()
        self._values.clear()

    def touches(self, storage: int) -> bool:
        """Whether the values of some region of a storage may be held: a first look that costs little."""
        return storage in self._storages

    def value(self, identity: Identity, least_bits: int = 1) -> Held | None:
        """What gives the values of a region with at least that many bits, or None."""
        if identity[0] not in self._storages:
            return None
        held = self._values.get((identity, "value"))
        if held is not None and held.bits >= least_bits:
            return held
        return self._values.get((identity, "wide"))

    def add_value(self, identity: Identity, held: Held) -> None:
        """Remembers what gives the values of a region."""
        kind = "wide" if held.bits >= WIDEST else "value"
        self._values[identity, kind] = held
        self._storages.add(identity[0])
        other = self._aliases.pop(identity, None)
        if other is not None:
            self._values[other, kind] = held
            self._storages.add(other[0])

    def alias(self, identity: Identity, other: Identity) -> None:
        """Has what will be held for a region be found under another identity too."""
        self._aliases[identity] = other

    def copy(self, tensor: Tensor) -> Copied:
        """A copy of a small tensor, shared by all who ask at this version of it."""
        place = (tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.size(), tensor.stride())
        identity = (*place, tensor.dtype, tensor._version)
        copied = self._copies.get(identity)
        if copied is None:
            copied = self._copies[identity] = Copied(tensor, None)
        return copied

    def exact(self, identity: Identity, kind: MaskTest | str) -> Held | None:
        """The mask of a region under a test, or its integers; None if it is not held."""
        return self._values.get((identity, kind))

    def add_exact(self, identity: Identity, kind: MaskTest | str, held: Encoded) -> None:
        """Remembers the mask of a region under a test, or its integers."""
        self._values[identity, kind] = held
        if isinstance(kind, MaskTest):
            self.last_mask = weakref.ref(held)

"""What is held already, so that no region is stored twice."""

from __future__ import annotations

import weakref
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor

from ..autograd.storages import WeakStorages
from ..codecs.exact import Exact
from ..codecs.groups import Groups
from ..codecs.masks import MaskTest
from ..operators.forms import BENT, OWN
from .base import Held
from .encoded import Encoded
from .identity import Identity
from .kept import Copied

WIDEST = 8
EXACT = "kept"
_KINDS = ("value", "wide", "normalised", *OWN, *BENT)


class HeldRegions:
    """Regions by identity, each held weakly: it goes when the last graph that needs it goes.

    An identity begins with the address of a storage. Those that are known here are kept from being used again.
    """

    def __init__(self) -> None:
        self._step = 0
        self._aliases: dict[Identity, Identity] = {}
        self._addresses = WeakStorages()
        self._storages: set[int] = set()
        self._copies: WeakValueDictionary[tuple[Any, ...], Copied] = WeakValueDictionary()
        # A dictionary that drops what is dead would make an object with a callback for every entry.
        self._values: dict[tuple[Identity, Any], weakref.ref[Held]] = {}

    def begin_step(self, number: int) -> None:
        """Forgets what earlier steps hold, so that what a step shares does not depend on how long their graphs live."""
        if number == self._step:
            return
        self._step = number
        self._aliases.clear()
        self._storages.clear()
        self._addresses.clear()
        self._copies.clear()
        self._values.clear()

    def touches(self, storage: int) -> bool:
        """Whether the values of some region of a storage may be held: a first look that costs little."""
        return storage in self._storages

    def value(self, identity: Identity, min_bits: int = 1, form: str = "") -> Held | None:
        """What gives the values of a region with at least that many bits, or None.

        Args:
            identity: Of the region.
            min_bits: Least width of its codes.
            form: The form in which they must be coded; ``""`` for any in which all values come back. One of ``BENT`` is
                served by those too.
        """
        if identity[0] not in self._storages:
            return None
        if form in BENT:
            kinds: tuple[str, ...] = (form, "value", "wide", EXACT)
        else:
            kinds = (form, EXACT) if form else ("value", "wide", EXACT)
        for kind in kinds:
            held = self._get(identity, kind)
            if held is not None and held.bits >= min_bits:
                return held
        return None

    def bent(self, identity: Identity) -> Encoded | None:
        """Codes of a region from which its values are not right on average; None if there are none."""
        if identity[0] in self._storages:
            for form in BENT:
                held = self._get(identity, form)
                if isinstance(held, Encoded) and held.code.name == Groups.name:
                    return held
        return None

    def add_value(self, identity: Identity, held: Held, form: str = "") -> None:
        """Remembers what gives the values of a region, and in which form they are coded."""
        self._storages.add(identity[0])
        if form:
            self._values[identity, form] = weakref.ref(held)
            if form in OWN or form in BENT:
                return
        kind = "wide" if held.bits >= WIDEST else "value"
        self._values[identity, kind] = weakref.ref(held)
        other = self._aliases.pop(identity, None) if self._aliases else None
        if other is not None:
            self._values[other, kind] = weakref.ref(held)
            self._storages.add(other[0])

    def keep(self, identity: Identity, held: Encoded) -> None:
        """Remembers a region that is kept as it is."""
        self._storages.add(identity[0])
        self._values[identity, EXACT] = weakref.ref(held)

    def codes(self, identity: Identity) -> list[Encoded]:
        """The codes that hold values of a region, in whatever form."""
        if identity[0] not in self._storages:
            return []
        found = {id(held): held for held in (self._get(identity, kind) for kind in _KINDS) if held is not None}
        return [held for held in found.values() if isinstance(held, Encoded) and not isinstance(held.code, Exact)]

    def has(self, identity: Identity, form: str) -> bool:
        """Whether a region is held in a form."""
        return identity[0] in self._storages and self._get(identity, form) is not None

    def alias(self, identity: Identity, other: Identity, source: Tensor) -> None:
        """Has what will be held for a region be found under another identity too.

        Args:
            identity: Of the region.
            other: The other one, which has the address of another tensor's storage.
            source: That tensor.
        """
        self._addresses.add(source.untyped_storage())
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
        return self._get(identity, kind)

    def add_exact(self, identity: Identity, kind: MaskTest | str, held: Encoded) -> None:
        """Remembers the mask of a region under a test, or its integers."""
        self._values[identity, kind] = weakref.ref(held)

    def _get(self, identity: Identity, kind: Any) -> Held | None:
        found = self._values.get((identity, kind))
        return None if found is None else found()

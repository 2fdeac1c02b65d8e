"""Moves packed data out of the memory of its device: codes, and tensors that are kept as they are.

NOTE: Kept tensors
A tensor that is kept exactly shares its memory with the network, so putting it elsewhere frees something only when the
network lets go of it. Data that no op made (the batch) is in the user's hands and stays. In-place changes are
found by the version of the tensor, as for a tensor that stays; what has been written meanwhile is then never used.
"""

from __future__ import annotations

import copy
from typing import Protocol

from torch import Tensor

from ..codecs.base import Code
from ..records import Settings, Site
from ..saved.identity import Place, locate
from ..saved.kept import Watch
from ..saved.small import USUAL
from ..store import Store, open_store
from .rules import Rules


class Movable(Code, Protocol):
    """A code whose data may lie elsewhere.

    Attributes:
        parts: Names of the attributes that hold its tensors.
    """

    parts: tuple[str, ...]


class OffloadedCode:
    """A code whose tensors are in a store.

    Args:
        code: The code; its tensors are taken from it.
        store: Where they go.
    """

    __slots__ = ("_code", "_ticket", "bent", "bits", "dtype", "line", "name", "nbytes", "offloaded_bytes", "one_pass")

    def __init__(self, code: Movable, store: Store) -> None:
        total = code.nbytes
        self._ticket = store.put(tuple(getattr(code, name) for name in code.parts))
        self.name, self.bent = code.name, getattr(code, "bent", None)
        self.bits = code.bits
        self.dtype = code.dtype
        self.one_pass: bool = getattr(code, "one_pass", False)
        self.line: tuple[int, int] | None = getattr(code, "line", None)
        stored = sum(getattr(code, name).nbytes for name in code.parts) if self._ticket.nbytes else 0
        self.offloaded_bytes = stored
        self.nbytes = total - stored
        if stored:
            for name in code.parts:
                setattr(code, name, None)
        self._code = code

    def loaded(self) -> Movable:
        """The code with its tensors fetched from the store."""
        if not self.offloaded_bytes:
            return self._code
        # Another thread may decode at the same time, so the tensors are given to a copy.
        code = copy.copy(self._code)
        for name, part in zip(code.parts, self._ticket.load(), strict=True):
            setattr(code, name, part)
        return code

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride."""
        return self.loaded().decode(size, stride)


class ExactCode:
    """A region in a store, bit for bit. Decoding raises if its tensor was changed in place since.

    Args:
        region: A dense region.
        store: Where it goes.
    """

    __slots__ = ("_ticket", "_watch", "dtype", "nbytes", "offloaded_bytes")

    name = "keep"
    bits = 0

    def __init__(self, region: Tensor, store: Store) -> None:
        self._watch = Watch(region)
        self.dtype = region.dtype
        self._ticket = store.put((region.detach().as_strided((region.numel(),), (1,)),))
        self.offloaded_bytes = region.nbytes if self._ticket.nbytes else 0
        self.nbytes = region.nbytes - self.offloaded_bytes

    def loaded(self) -> ExactCode:
        """The code itself: what it gives is no code but the region."""
        return self

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride."""
        self._watch.check()
        (flat,) = self._ticket.load()
        return flat.clone().as_strided(size, stride)


class Offload:
    """Decides what goes into a store and puts it there.

    Args:
        store: The store.
        rules: The user's rules; if one has ``offload=True``, only what such a rule matches is moved.
        min_bytes: Kept tensors smaller than this stay.
    """

    def __init__(self, store: Store, rules: Rules, min_bytes: int) -> None:
        self.store = store
        self._rules = rules
        self._chosen = any(rule.offload for rule in rules.all)
        self._min_bytes = max(min_bytes, 1)

    def _wants(self, site: Site, tensor: Tensor) -> bool:
        rule = self._rules.of(site, tensor) if self._rules else None
        wanted = None if rule is None else rule.offload
        return not self._chosen if wanted is None else wanted

    def code(self, code: Movable, site: Site, tensor: Tensor) -> Code:
        """The code with its data in the store, or as it is if it is to stay."""
        return OffloadedCode(code, self.store) if self._wants(site, tensor) else code

    def kept(self, tensor: Tensor, site: Site) -> Place | None:
        """The place of a tensor that an op made, is kept exactly and can be moved; None if it is to stay."""
        if tensor.nbytes < self._min_bytes or not self._wants(site, tensor):
            return None
        place = locate(tensor)
        return None if place is None or place.layout.copied else place


def open_offload(settings: Settings, rules: Rules) -> Offload | None:
    """What moves packed data as the settings say; None if it stays on its device.

    Raises:
        ValueError: If a rule wants to move tensors and there is no place to move them to.
        StoreError: If that place cannot be used.
    """
    if settings.offload is not None:
        return Offload(open_store(settings.offload), rules, USUAL if settings.min_bytes is None else settings.min_bytes)
    for rule in rules.all:
        if rule.offload:
            raise ValueError(f"{rule} has no place to move tensors to. Pass offload='cpu' or 'disk:<directory>' too.")
    return None

"""What one step saved: bytes of plain autograd and bytes held, per site."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, UntypedStorage

from ..autograd.storages import WeakStorages
from ..records import Decision, Site


@dataclass(slots=True)
class Tally:
    """Running figures of the tensors of one site that were treated alike in one step.

    Attributes:
        decision: What was done with them.
        count: Tensors saved.
        merged: Of those, saves of something already held.
        plain_bytes: Storage that plain autograd keeps for them, each storage counted once.
        kept_bytes: Bytes held for them.
        offloaded_bytes: Bytes that were moved out of the memory of their device.
    """

    decision: Decision
    count: int = 0
    merged: int = 0
    plain_bytes: int = 0
    kept_bytes: int = 0
    offloaded_bytes: int = 0


Extent = tuple[Any, int]
"""What a save keeps alive in plain autograd, told from others, and its bytes: a storage, or a part of one."""


class _Counted:
    """Storages and parts of storages, each counted once; parts of one storage at most as the whole of it."""

    def __init__(self) -> None:
        self._places: set[Any] = set()
        self._in_parts: dict[int, int] = {}

    def add(self, extent: Extent, storage: UntypedStorage) -> int:
        """Bytes that are new with an extent of a storage."""
        place, size = extent
        if place in self._places:
            return 0
        self._places.add(place)
        if type(place) is int:
            return max(size - self._in_parts.get(place, 0), 0) if self._in_parts else size
        address = place[0]
        if address in self._places:
            return 0
        before = self._in_parts.get(address, 0)
        new = max(min(size, storage.nbytes() - before), 0)
        self._in_parts[address] = before + new
        return new


class Ledger:
    """The figures of one step. Storages are counted at their first save.

    Attributes:
        parameter_saves: How often a parameter was saved, which no other figure counts.
        was_read: Whether a backward pass has read what the step saved.

    NOTE: Storages that die during the step
    A storage that was counted may be freed while the step goes on, that of a kept tensor too, if its graph is dropped,
    and its address could be given to another one. So the ledger keeps the address of every storage apart.
    """

    def __init__(self) -> None:
        self._sites: dict[Site, list[Tally]] = {}
        self.parameter_saves = 0
        self.was_read = False
        self._addresses = WeakStorages()
        self._plain = _Counted()
        self._kept = _Counted()

    @property
    def tallies(self) -> dict[tuple[Site, Decision], Tally]:
        """The figures, by first save of the site: several for one that runs on several sizes."""
        return {(site, tally.decision): tally for site, tallies in self._sites.items() for tally in tallies}

    def plain(self, extent: Extent, storage: UntypedStorage) -> int:
        """Bytes that plain autograd keeps because of a save, 0 if they were counted before.

        Args:
            extent: What ``extent_of`` gave for the saved tensor.
            storage: Its storage.
        """
        size = self._plain.add(extent, storage)
        if size:
            self._addresses.add(storage)
        return size

    def keep(
        self, site: Site, decision: Decision, extent: Extent, storage: UntypedStorage, before: Extent | None = None
    ) -> None:
        """Adds one save of a tensor that is kept as it is.

        Args:
            site: Who saved it.
            decision: Why it is kept.
            extent: What ``extent_of`` gave for it.
            storage: Its storage.
            before: What plain autograd keeps in its place; None for the same.
        """
        plain, kept = self.plain(before or extent, storage), self._kept.add(extent, storage)
        self.record(site, decision, plain, kept, merged=not kept and extent[1] > 0)

    def keep_parts(self, site: Site, decision: Decision, parts: list[Tensor], made: Container[int] = ()) -> None:
        """Adds one save of a tensor that is made of others and kept as it is.

        Args:
            site: Who saved it.
            decision: Why it is kept.
            parts: The strided tensors that hold it.
            made: Addresses of storages that ops of this forward pass have made.
        """
        plain = kept = size = 0
        for part in parts:
            extent, storage = extent_of(part, made), part.untyped_storage()
            plain += self.plain(extent, storage)
            kept += self._kept.add(extent, storage)
            size += extent[1]
        self.record(site, decision, plain, kept, merged=not kept and size > 0)

    def release(self, site: Site, before: Decision, after: Decision, kept_bytes: int) -> None:
        """Counts a code that has given way to the tensor itself, which another save keeps.

        Args:
            site: Who saved it.
            before: What was done with it first.
            after: What became of it.
            kept_bytes: Bytes of the code.
        """
        tally = self._tally(site, before)
        tally.count -= 1
        tally.kept_bytes -= kept_bytes
        moved = 0
        if not tally.count:
            moved = tally.plain_bytes
            self._sites[site].remove(tally)
        self.record(site, after, moved, 0, merged=True)

    def replace(self, site: Site, before: Decision, after: Decision) -> None:
        """Takes away one save of a site that was counted once more.

        Args:
            site: Who saved it.
            before: What was done with it first.
            after: As what it was counted again.
        """
        tally = self._tally(site, before)
        tally.count -= 1
        tally.merged -= tally.merged > 0
        if not tally.count:
            self._tally(site, after).plain_bytes += tally.plain_bytes
            self._sites[site].remove(tally)

    def resize(self, site: Site, decision: Decision, more: int) -> None:
        """Counts bytes that a code has gained."""
        self._tally(site, decision).kept_bytes += more

    def record(
        self,
        site: Site,
        decision: Decision,
        plain_bytes: int,
        kept_bytes: int,
        merged: bool = False,
        offloaded_bytes: int = 0,
    ) -> None:
        """Adds one save to its site."""
        tally = self._tally(site, decision)
        tally.count += 1
        tally.merged += merged
        tally.plain_bytes += plain_bytes
        tally.kept_bytes += kept_bytes
        tally.offloaded_bytes += offloaded_bytes

    @property
    def offloaded_bytes(self) -> int:
        """Bytes that were moved out of the memory of their device."""
        return sum(tally.offloaded_bytes for tally in self._all())

    @property
    def plain_bytes(self) -> int:
        """Bytes that plain autograd keeps."""
        return sum(tally.plain_bytes for tally in self._all())

    @property
    def kept_bytes(self) -> int:
        """Bytes held instead."""
        return sum(tally.kept_bytes for tally in self._all())

    def count(self, site: Site) -> int:
        """Tensors that the site has saved so far."""
        tallies = self._sites.get(site)
        return sum([tally.count for tally in tallies]) if tallies else 0

    def _all(self) -> Iterator[Tally]:
        for tallies in self._sites.values():
            yield from tallies

    def _tally(self, site: Site, decision: Decision) -> Tally:
        tallies = self._sites.get(site)
        if tallies is None:
            tallies = self._sites[site] = []
        for tally in tallies:
            if tally.decision is decision or tally.decision == decision:
                return tally
        tally = Tally(decision)
        tallies.append(tally)
        return tally


def extent_of(tensor: Tensor, made: Container[int] = ()) -> Extent:
    """What a save of a tensor keeps alive in plain autograd.

    That is the whole storage, except for data that no op made: a slice of the data set keeps nothing alive that was
    not alive anyway, and counts by itself.

    Args:
        tensor: The tensor.
        made: Addresses of storages that ops of this forward pass have made.
    """
    storage = tensor.untyped_storage()
    address = storage._cdata
    if tensor.is_leaf and tensor._is_view() and address not in made:
        return _slice_of(tensor, address, storage.nbytes())
    return address, storage.nbytes()


def _slice_of(tensor: Tensor, address: int, most: int) -> Extent:
    """The part of a storage that a tensor covers; a dimension that repeats elements covers nothing more."""
    own = [(step, length) for length, step in zip(tensor.size(), tensor.stride(), strict=True) if step]
    covered = math.prod(length for _, length in own) if tensor.numel() else 0
    place = (address, tensor.storage_offset(), tensor.dtype, tuple(sorted(each for each in own if each[1] > 1)))
    return place, min(covered * tensor.itemsize, most)

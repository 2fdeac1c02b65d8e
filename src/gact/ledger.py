"""What one step saved: bytes of plain autograd and bytes held, per site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, UntypedStorage
from torch.multiprocessing.reductions import StorageWeakRef

from .records import Decision, Site


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


class Ledger:
    """The figures of one step. Storages are counted at their first save.

    NOTE: Storages that die during the step
    A compressed tensor's storage is freed while the step goes on, and its address could be given to another one. So the
    ledger holds every storage it has counted weakly, which keeps the address apart and none of the memory.
    """

    def __init__(self) -> None:
        self._sites: dict[Site, list[Tally]] = {}
        self.parameter_saves = 0
        self._plain: dict[Any, Any] = {}
        self._kept: set[int] = set()

    @property
    def tallies(self) -> dict[tuple[Site, Decision], Tally]:
        """The figures, by first save of the site: several for one that runs on several sizes."""
        return {(site, tally.decision): tally for site, tallies in self._sites.items() for tally in tallies}

    def plain(self, tensor: Tensor) -> int:
        """Bytes that plain autograd keeps because of this save, 0 if they were counted before.

        That is the whole storage, except for data that no op made: a slice of the data set keeps nothing alive that was
        not alive anyway, and counts by itself.
        """
        storage = tensor.untyped_storage()
        place, size = _extent(tensor, storage)
        if place in self._plain:
            return 0
        self._plain[place] = StorageWeakRef(storage)
        return size

    def keep(self, site: Site, decision: Decision, tensor: Tensor) -> None:
        """Adds one save of a tensor that is kept as it is, and so keeps the address of its storage itself."""
        storage = tensor.untyped_storage()
        place, size = _extent(tensor, storage)
        if self._plain.get(place, self) is None:
            self.record(site, decision, 0, 0, merged=size > 0)
            return
        plain = 0 if place in self._plain else size
        kept = 0 if storage._cdata in self._kept else size
        self._plain[place] = None
        self._kept.add(storage._cdata)
        self.record(site, decision, plain, kept, merged=not kept and size > 0)

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
        return sum(tally.offloaded_bytes for tally in self.tallies.values())

    @property
    def plain_bytes(self) -> int:
        """Bytes that plain autograd keeps."""
        return sum(tally.plain_bytes for tally in self.tallies.values())

    @property
    def kept_bytes(self) -> int:
        """Bytes held instead."""
        return sum(tally.kept_bytes for tally in self.tallies.values())

    def count(self, site: Site) -> int:
        """Tensors that the site has saved so far."""
        return sum(tally.count for tally in self._sites.get(site, ()))

    def _tally(self, site: Site, decision: Decision) -> Tally:
        tallies = self._sites.setdefault(site, [])
        for tally in tallies:
            if tally.decision is decision or tally.decision == decision:
                return tally
        tallies.append(Tally(decision))
        return tallies[-1]


def _extent(tensor: Tensor, storage: UntypedStorage) -> tuple[Any, int]:
    """What a save keeps alive, by identity, and its bytes."""
    address = storage._cdata
    if tensor._is_view() and tensor.is_leaf:
        place = (address, tensor.storage_offset(), tensor.size(), tensor.stride())
        return place, min(tensor.nbytes, storage.nbytes())
    return address, storage.nbytes()

"""What steep functions have exact before them, whose code may have been made already.

NOTE: Later than the code
A result is saved before the steep function that shows what it needs. So the values of a site that is seen for the first
time are held on to until a few more have been saved, and where the network holds them itself they are found again: the
code gives way to them. From then on the site is known, and exact from the start.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import StorageWeakRef, is_at_hand, transform_level
from ..autograd.nodes import saves_of
from ..codecs.exact import Exact
from ..operators.dividing import NORMALISING, dividing_nodes
from ..operators.need import Need, exact
from ..operators.shares import summed_over
from ..operators.steep import MULTIPLYING, looked_at, multiplying_behind, span, steep_nodes, tells_of_sums
from ..records import Decision, Site
from ..saved.encoded import Encoded
from ..saved.identity import locate
from ..saved.kept import Kept, Watch
from ..saved.ledger import Ledger
from ..saved.packed import Packed
from ..saved.save import Save
from ..saved.totals import Totals
from .divided import are_narrow_rows, coded_behind, is_drowned, least_of, rows_of
from .holding import BESIDE, Holding
from .sites import Looks, Sites
from .twice import fine_enough

_WHY = "a steep function reads it"
_NEED = exact(_WHY)
_RECENT = 8
"""Values that are held on to at most."""
_SHARE, _LITTLE = 8, 2**20
"""All but the last take no more than so little of what plain autograd holds so far, or so many bytes."""
_SHARE_OF_EXPONENTIALS = 2
"""Exponentials may take so much: they go over many magnitudes, and where one divides what another multiplies the noise
of a first step would be millions of times its gradient, which spoils the moments of an optimizer for long."""
_EXPONENTIALS = frozenset({"Exp2Backward0", "ExpBackward0"})
_STEEP = 16.0
"""So many times as large as the least must the greatest slope be: below, the step of a code is small beside all."""
_FAR = 256.0


class _Released(NamedTuple):
    """A tensor without its memory, which is found again as long as somebody has it.

    Attributes:
        save: The save of it.
        watch: Has its version.
        storage: Its storage.
        place: Offset, size and stride in that.
    """

    save: weakref.ref[Save]
    watch: Watch
    storage: StorageWeakRef
    place: tuple[Any, ...]

    def tensor(self) -> Tensor | None:
        """The tensor; None if its memory is gone."""
        storage = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        if storage is None:
            return None
        alias = self.watch.alias
        alias.data = alias.new_empty(0).set_(storage, *self.place)
        return alias


class _Recent(NamedTuple):
    """A value that is held on to.

    Attributes:
        save: The save of it.
        tensor: The value.
        is_exponential: Whether it is the result of an exponential.
    """

    save: weakref.ref[Save]
    tensor: Tensor
    is_exponential: bool


class Steep:
    """Follows the forward pass of one thread.

    Args:
        holding: Holds saves.
        sites: Know which sites steep functions read.

    Attributes:
        tell: Called with the site of a value of which a code alone is left.
    """

    def __init__(self, holding: Holding, sites: Sites) -> None:
        self.tell: Callable[[Site], None] = lambda site: None
        self._holding = holding
        self._sites = sites
        self._recent: list[_Recent] = []
        self._released: dict[int, _Released] = {}

    def needed(self, save: Save, node: Node, slot: str, needed: Need) -> Need:
        """The need of a save whose node is known: exact at a site that a steep function has read.

        Args:
            save: The save.
            node: Its node.
            slot: Its slot.
            needed: What the node itself needs.
        """
        if needed.kind != "value":
            return needed
        site, sites = save.place, self._sites
        needed = fine_enough(save, node, slot, needed, sites)
        dims = summed_over(node, slot)
        if dims is not None and save.tensor is not None:
            save.totals = Totals(save.tensor, dims)
        if site in sites.shown:
            return _NEED if sites.steep and site in sites.steep else needed
        sites.shown.add(site)
        if save.tensor is not None and (node.name() in MULTIPLYING or are_narrow_rows(node, slot, save)):
            self._recent.append(_Recent(weakref.ref(save), save.tensor, node.name() in _EXPONENTIALS))
            while (oldest := self._one_too_many(save.step.ledger)) is not None:
                self._release(self._recent.pop(oldest))
        return needed

    def _one_too_many(self, ledger: Ledger) -> int | None:
        """The place of the value that is to be released next; None if there is room for all."""
        recent = self._recent
        if len(recent) > _RECENT:
            return 0
        size, plain = sum(each.tensor.nbytes for each in recent), ledger.plain_bytes
        if len(recent) < 2 or size <= max(_LITTLE, plain // _SHARE):
            return None
        others = [place for place, each in enumerate(recent[:-1]) if not each.is_exponential]
        if others:
            return others[0]
        return 0 if size > plain // _SHARE_OF_EXPONENTIALS else None

    def meet(self, func: Any, result: Any) -> None:
        """Has all stay exact that a function reads steeply which has just run.

        Args:
            func: The function.
            result: What it gave.
        """
        if func not in NORMALISING:
            for node in steep_nodes(result):
                behind, sure = multiplying_behind(node)
                if behind:
                    self._meet(node, behind, sure)
        for node in dividing_nodes(result):
            self._divide(node)

    def _divide(self, node: Node) -> None:
        """Has codes behind a divisor give way that have more rounding than what is left of rows."""
        save = next((held for held in saves_of(node) if type(held) is Save and held.site is not None), None)
        if save is not None and not self._are_due(save, least_of(node), of_node=True):
            return
        rows = None
        for found in coded_behind(node):
            site = found.save.place
            if site not in self._sites.shown or site in self._sites.steep:
                continue
            rows = rows_of(node) if rows is None else rows
            if rows is None:
                return
            if self._are_due(found.save, rows.least) and is_drowned(found, rows, self._values(found.save)):
                self._keep(found.save, True)

    def _are_due(self, save: Save, least: float, of_node: bool = False) -> bool:
        """Whether to look at what is divided by, beside a code or at all."""
        key = save.place, of_node
        looks = self._sites.looks.get(key)
        if looks is None:
            looks = self._sites.looks[key] = Looks()
        return looks.are_due(save.step.number, least)

    def close(self) -> None:
        """Lets go of all values."""
        self._recent.clear()
        self._released.clear()

    def _meet(self, node: Node, behind: list[Node], sure: bool) -> None:
        saves = [save for each in behind for save in saves_of(each) if type(save) is Save and save.site is not None]
        saves = [save for save in saves if save.place in self._sites.shown and type(save.result) is Packed]
        value = _value_of(node) if saves else None
        if not sure:
            alike = value.numel() if value is not None else None
            saves = [save for save in saves if save.layout.size.numel() == alike]
        if not saves:
            return
        steepness, told = math.inf if value is None else span(node, value), tells_of_sums(node)
        for save in saves:
            # Elements that were selected or added say nothing of those that were not.
            alike = told or (value is not None and save.layout.size.numel() == value.numel())
            if not alike or steepness > _STEEP:
                self._keep(save, not alike or steepness > _FAR)

    def _keep(self, save: Save, far: bool) -> None:
        """Has a code give way to its values, if they are still there, and its site be exact from now on."""
        known = save.place in self._sites.steep
        self._sites.steep.add(save.place)
        tensor = self._values(save)
        if tensor is not None:
            self._regain(save, tensor)
        elif far and not known:
            self.tell(save.place)

    def _regain(self, save: Save, tensor: Tensor) -> None:
        """Holds a save exactly that is held in a code, whose tensor is at hand again."""
        packed, place, ledger = save.result, locate(tensor), save.step.ledger
        if type(packed) is not Packed or place is None or place.identity != save.identity:
            return
        held, before = packed.held, packed.held.decision
        owner = held.owner if type(held) is Encoded else None
        packed.leave()
        save.tensor, save.region = tensor, place.region
        self._holding.leave(save, _WHY)
        gone = type(held) is Encoded and type(held.code) is Exact and owner is save.site
        ledger.replace(save.place, BESIDE if gone else before, Decision.keep(_WHY))

    def _release(self, recent: _Recent) -> None:
        reference, tensor = recent.save, recent.tensor
        place = tensor.storage_offset(), tensor.size(), tensor.stride()
        storage = StorageWeakRef(tensor.untyped_storage())
        save = reference()
        if save is not None and transform_level() is None:  # a transform of torch.func lets no tensor lose its memory
            self._released[id(save)] = _Released(reference, Watch(tensor), storage, place)

    def _values(self, save: Save) -> Tensor | None:
        for recent in self._recent:
            if recent.save() is save:
                return recent.tensor
        released = self._released.get(id(save))
        if released is None or released.save() is not save or transform_level() is not None:
            return None
        return released.tensor()


def _value_of(node: Node) -> Tensor | None:
    """What tells how steep a node is; None if it cannot be looked at."""
    slot = looked_at(node)
    raw = getattr(node, f"_raw_saved_{slot}", None) if slot else None
    held = None if raw is None else raw.data
    held = held.result if type(held) is Save else held
    return held.tensor if type(held) is Kept and is_at_hand(held.tensor) else None

"""Saves that wait until it is known which node made them.

NOTE: How long a save waits
The node that saves cannot be reached yet when the pack hook is called. It can as soon as the op has returned, and from
any later tensor that was made of its result. So the saves of an op are told when it returns; those of ops that nobody
watches (inside TorchScript, C++ or a custom Function) at the next save or op that leads back to them. Meanwhile they
hold their tensor, which plain autograd would hold as well. A save that was looked for in vain too often, or is read or
still untold when its context closes, stays exact.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.nodes import results_of, roots_of, slot_of, walk
from ..operators.need import Need
from ..records import Site
from .save import Save

MANY = 8
"""So many saves of one running op are looked for before it has returned."""
_PATIENCE = 64


class Told(NamedTuple):
    """A save and the node that made it.

    Attributes:
        order: When it was saved.
        save: The save.
        node: The node.
        slot: Name of the node's slot that holds it.
        place: Which of the node's slots that is.
    """

    order: int
    save: Save
    node: Node
    slot: str
    place: int


class Waiting:
    """The saves of one thread that wait for their nodes, held weakly: those of a graph that is dropped go with it.

    Args:
        settle: Called with those that are told, in the order of their saves.
        keep: Called with each that is not, and why; keeps it exactly.
        hold: Called with one that has no node to be seen and what is needed of it.

    Attributes:
        saves: Those that wait; empty most of the time.
        most_bytes: Greatest bytes that have waited at once.
    """

    def __init__(
        self,
        settle: Callable[[list[Told]], None],
        keep: Callable[[Save, str], None],
        hold: Callable[[Save, Need], None],
    ) -> None:
        self.saves: list[weakref.ref[Save]] = []
        self._settle = settle
        self._keep = keep
        self._hold = hold

    def add(self, save: Save) -> None:
        """Has a save wait."""
        self.saves.append(weakref.ref(save))

    def _alive(self) -> list[Save]:
        """Those that still wait and whose graph is alive."""
        return [save for save in (each() for each in self.saves) if save is not None and save.result is None]

    def tell(self, result: Any) -> None:
        """Looks for the nodes of what waits behind the result of an op, or a tensor that is saved."""
        if len(self.saves) == 1 and isinstance(result, Tensor):  # most ops save one tensor and return one
            save, node = self.saves[0](), result.grad_fn
            slot = None if save is None or node is None else slot_of(node, save)
            if slot is not None and save is not None and node is not None and save.result is None:
                self.saves.clear()
                self._settle([Told(0, save, node, *slot)])
                return
        self._look(roots_of(results_of(result)))

    def _look(self, roots: list[Node]) -> None:
        """Looks for the nodes of what waits behind other nodes."""
        waiting = self._alive()
        found: list[Told] = []
        if waiting and roots:
            orders = {id(save): order for order, save in enumerate(waiting)}

            def told(held: Any, node: Node, slot: str, place: int) -> bool:
                save = held if type(held) is Save else getattr(held, "packed", None)
                order = orders.pop(id(save), None)
                if order is not None and save is not None:
                    found.append(Told(order, save, node, slot, place))
                return not orders

            walk(roots, min(save.number for save in waiting), told)
            found.sort(key=lambda each: each.order)
        self.saves.clear()
        if len(found) < len(waiting):
            self._wait_on(waiting, {id(each.save) for each in found})
        if found:
            self._settle(found)

    def _wait_on(self, waiting: list[Save], found: set[int]) -> None:
        for save in waiting:
            if id(save) in found:
                continue
            save.missed += 1
            if save.missed > _PATIENCE:
                self._keep(save, "not told by a node")
            else:
                self.saves.append(weakref.ref(save))

    def assume(self, need: Need, saved: Callable[[Site | None], bool]) -> None:
        """Holds saves whose node cannot be seen, for a need that is known otherwise.

        Args:
            need: The need.
            saved: Tells by their sites which they are.
        """
        waiting = self._alive()
        self.saves[:] = [weakref.ref(save) for save in waiting if not saved(save.site)]
        for save in waiting:
            if saved(save.site):
                self._hold(save, need)

    def keep(self, save: Save) -> None:
        """Keeps one exactly that is read before it was told."""
        self._keep(save, "read in forward")

    def close(self) -> None:
        """Keeps all exactly that still wait, and lets go of who settles them."""
        for save in self._alive():
            self._keep(save, "not told by a node")
        self.saves.clear()
        self._settle, self._keep, self._hold = _settle_nothing, _keep_nothing, _hold_nothing


def _settle_nothing(found: list[Told]) -> None:
    """In the place of who settles saves, once nothing waits: two objects that hold each other stay for long."""


def _keep_nothing(save: Save, reason: str) -> None:
    """Likewise."""


def _hold_nothing(save: Save, need: Need) -> None:
    """Likewise."""

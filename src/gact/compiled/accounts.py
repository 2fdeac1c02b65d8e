"""How much plain code would save in place of what is held.

Each storage that plain code saves is counted once: with the value itself where that is held, else with the nearest
value that is held and that plain code does not save, so that the sum is what plain code saves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import fx

from ..operators.aten import VIEWS, name_of
from .joint import Joint
from .values import hint, tensor_of

_COPIES = frozenset({"clone", "convert_element_type", "reshape", "_to_copy"})


class Accounts:
    """The shares of one graph.

    Args:
        joint: The forward graph and what backward reads.
        packed: What is held in codes.
        kept: What is held as it is.

    Attributes:
        shares: Bytes that plain code saves in place of a value; None for one that plain code saves itself, as it is.
    """

    def __init__(self, joint: Joint, packed: Iterable[fx.Node], kept: Iterable[fx.Node]) -> None:
        self._joint = joint
        packed, kept = list(packed), list(kept)
        plain = {key: size for key, size in map(self._storage, self._saved()) if key is not None}
        self.shares: dict[fx.Node, int | None] = {}
        first: dict[Any, fx.Node] = {}
        for node in (*kept, *packed):
            key, _ = self._storage(node)
            if key not in plain:
                self.shares[node] = 0
            elif node in kept:
                self.shares[node] = None
                first[key] = node
            else:
                self.shares[node] = 0 if key in first else plain[key]
                first.setdefault(key, node)
        # What others may save as well counts by its own storage.
        own = [node for node in packed if node in joint.inputs or node in joint.results]
        usual = [node for node, share in self.shares.items() if share is not None and node not in own]
        done = set(first)
        for node in self._saved():
            key, size = self._storage(node)
            if key is not None and key not in done:
                done.add(key)
                self._add(self._nearest(node, usual or kept), size)

    def _saved(self) -> Iterator[fx.Node]:
        """The tensors that plain code saves, states of generators among them."""
        return (node for node in (*self._joint.saved, *self._joint.states) if tensor_of(node) is not None)

    def _add(self, node: fx.Node | None, size: int) -> None:
        if node is not None:
            share = self.shares[node]
            self.shares[node] = (self._storage(node)[1] if share is None else share) + size

    def _storage(self, node: fx.Node) -> tuple[Any, int]:
        """What tells the storage of a node's tensor, None for that of a parameter, and its bytes."""
        while name_of(node.target) in VIEWS - _COPIES and isinstance(node.args[0], fx.Node):
            node = node.args[0]
        tensor = tensor_of(node)
        assert tensor is not None
        storage = tensor.untyped_storage()
        return None if self._joint.is_static(node) else storage._cdata, hint(storage.nbytes())

    def _nearest(self, node: fx.Node, held: list[fx.Node]) -> fx.Node | None:
        """What is held in place of a value that torch saved: the nearest that it has to do with."""
        seen: set[fx.Node] = set()
        waiting = [node]
        while waiting:
            at = waiting.pop(0)
            if at in held:
                return at
            if at not in seen and not self._joint.is_free(at):
                seen.add(at)
                waiting.extend((*at.all_input_nodes, *at.users))
        return held[0] if held else None

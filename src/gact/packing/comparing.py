"""Codes of what a node compares: all of it is given back as stand-ins, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..codecs.blank import Blank
from ..codecs.winners import Winners, Won
from ..operators.comparisons import COMPARING, Peer, StandIn, stand_ins
from ..operators.registry import BY_NAME
from ..saved.kept import Copied, Kept
from ..saved.save import Save


def compares(node: Node) -> bool:
    """Whether the backward of a node may do with stand-ins; not where the user has said what it reads."""
    name = node.name()
    return name in COMPARING and name not in BY_NAME


def codes_of(node: Node, waiting: Mapping[str, Save]) -> Mapping[str, Blank | Won]:
    """Codes of stand-ins for the slots of a node.

    Args:
        node: A node that ``compares``.
        waiting: Its saves that are not held yet, by slot.
    """
    peers: dict[str, Peer] = {}
    exact: dict[str, Kept | Copied] = {}
    for slot in COMPARING[node.name()][0]:
        save = waiting.get(slot)
        if save is not None and save.tensor is not None:
            peers[slot] = Peer(save.tensor, _is_free(save))
            continue
        held = _held_in(node, slot)
        if isinstance(held, (Kept, Copied)):
            exact[slot] = held
            peers[slot] = Peer(held.unpack(), False)
    found = stand_ins(node, peers)
    return {slot: _code(waiting[slot], stand_in, exact) for slot, stand_in in found.items()}


def _is_free(save: Save) -> bool:
    """Whether every element of a save lies once in its region, and is still what was saved."""
    return save.layout.dense == save.layout.size and not save.was_changed


def _held_in(node: Node, slot: str) -> Any:
    """What a hook has returned for a slot."""
    try:
        held = getattr(node, f"_raw_saved_{slot}").data
    except (AttributeError, RuntimeError):  # nothing was saved there
        return None
    return held.result if isinstance(held, Save) else held


def _code(save: Save, stand_in: StandIn, exact: Mapping[str, Kept | Copied]) -> Blank | Won:
    region = save.region
    assert region is not None
    if stand_in.wins is None:
        return Blank(region, 1.0)
    wins = torch.empty_strided(region.size(), region.stride(), dtype=torch.bool, device=region.device)
    wins.copy_(stand_in.wins)
    if not stand_in.winner:
        return Won(wins, region.dtype)
    assert stand_in.shaped is not None
    return Winners(wins, region.dtype, _reading(exact[stand_in.winner], stand_in.shaped))


def _reading(held: Kept | Copied, shaped: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
    return lambda: shaped(held.unpack())

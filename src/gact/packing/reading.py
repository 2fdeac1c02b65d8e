"""What nodes hold in their slots, read in the forward pass."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

from ..saved.kept import Copied, Kept
from ..saved.packed import Packed
from ..saved.save import Save


def saved_in(node: Node, slot: str) -> Tensor | None:
    """What a node has saved in a slot, or what it is rounded to; None if that cannot be had."""
    try:
        raw = getattr(node, f"_raw_saved_{slot}", None)
    except RuntimeError:  # its graph was released
        return None
    held: Any = None if raw is None else raw.data
    if type(held) is Save:
        held = held.result if held.result is not None else held.tensor
    if isinstance(held, Tensor):
        return held
    if type(held) is Kept:
        return held.tensor
    return decoded(held) if type(held) in (Packed, Copied) else None


def decoded(held: Packed | Copied) -> Tensor | None:
    """What is held, or what it is rounded to; None if something it is made of was changed in place."""
    try:
        return held.held.decode(held.layout) if type(held) is Packed else held.unpack()
    except RuntimeError:
        return None

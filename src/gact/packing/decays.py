"""What was multiplied by exponentials of very different sizes, which others may undo."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import is_at_hand
from ..codecs.transforms import LEAST_ROW
from ..operators.decays import BOTH, exponentials_in, is_small_exponential, undone_in
from .reading import saved_in

_EVEN = 64.0
"""So many times as large as the least may the greatest exponential be."""


def is_decay(node: Node, slot: str, region: Tensor) -> bool:
    """Whether a product reads exponentials that must be exact, or what was multiplied by such: others undo them.

    Exponentials of rows leave their arguments as they were, and rows have scales of their own.

    Args:
        node: The node that saves it.
        slot: Its slot.
        region: The region.
    """
    if is_small_exponential(node, slot) or _is_undone(node, slot):
        return True
    if node.name() not in BOTH or slot not in BOTH[node.name()]:
        return False
    found = [list(exponentials_in(node, each)) for each in BOTH[node.name()]]
    row = max((extent for extent, step in zip(region.shape, region.stride(), strict=True) if step == 1), default=1)
    return all(found) and any(
        _are_uneven(saved_in(*each), row >= LEAST_ROW) for each in found[BOTH[node.name()].index(slot)]
    )


def _is_undone(node: Node, slot: str) -> bool:
    """Whether a product undoes, element by element, what an exponential further back made huge."""
    for own, further, other in undone_in(node):
        value, made = saved_in(node, own), saved_in(further, other)
        if value is None or made is None or not _are_uneven(value, has_rows=False) or not is_at_hand(made):
            continue
        least, most = map(float, torch.aminmax(made.detach()))
        if (least * _EVEN < 1.0) if further.name() == "DivBackward0" else (most > _EVEN):
            return True
    return False


def _are_uneven(value: Tensor | None, has_rows: bool) -> bool:
    if value is None or not is_at_hand(value) or not value.is_floating_point() or not value.numel():
        return False
    if has_rows and value.shape[-1:] == (1,):
        return False
    least, most = map(float, torch.aminmax(value.detach()))
    return not most <= _EVEN * least

"""Ops whose backward compares what was saved with each other, and reads no value: who won, ties included.

NOTE: Stand-ins
The greatest of a row, the aggregation of a graph by its maximum and the greater of two tensors save all that they
compared, and their backward asks which elements were equal to the winner. So one bit for each element will do, if all
that is compared is given back as one and zero, the winner as one. Where the winner is small and held exactly, the
elements that won are given back as it is. All slots of a node are held in this way, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import FakeTensor
from ..autograd.nodes import signed


class Peer(NamedTuple):
    """What is saved in one slot of a node.

    Attributes:
        tensor: Its values.
        is_free: Whether it can be given back as something else; otherwise it is held exactly.
    """

    tensor: Tensor
    is_free: bool


class StandIn(NamedTuple):
    """What can be given back in the place of a saved tensor.

    Attributes:
        wins: Which elements won, bool, of its size; None for all.
        winner: Slot of the winner, where that is held exactly.
        shaped: Makes the winner of a size that broadcasts.
    """

    wins: Tensor | None
    winner: str = ""
    shaped: Callable[[Tensor], Tensor] | None = None


Peers = Mapping[str, Peer]
StandIns = Mapping[str, StandIn]
_NONE: StandIns = {}


def stand_ins(node: Node, peers: Peers) -> StandIns:
    """Stand-ins of the slots of a node; none where comparisons cannot be kept.

    Args:
        node: A node whose name is in ``COMPARING``.
        peers: What it has saved, by slot.
    """
    slots, find = COMPARING[node.name()]
    if any(slot not in peers for slot in slots):
        return _NONE
    return find(node, peers)


def _reduced(node: Any, peers: Peers) -> StandIns:
    """The extreme along some dimensions: elements equal to it share its gradient."""
    values, (result, is_free) = peers["self"].tensor, peers["result"]
    dims, kept = getattr(node, "_saved_dim", ()), getattr(node, "_saved_keepdim", True)
    places = sorted({signed(dim) % max(values.dim(), 1) for dim in dims}) or list(range(values.dim()))

    def shaped(winner: Tensor) -> Tensor:
        if not kept:
            for dim in places:
                winner = winner.unsqueeze(dim)
        return winner

    restored = shaped(result)
    if restored.dim() != values.dim() or not peers["self"].is_free:
        return _NONE
    wins = values == restored
    if is_free:
        return {"self": StandIn(wins), "result": StandIn(None)}
    return {"self": StandIn(wins, "result", shaped)}


def _reduced_all(node: Any, peers: Peers) -> StandIns:
    """The extreme or the median of all: a NaN that it may be is looked for by itself."""
    values, result = peers["self"].tensor, peers["result"].tensor
    if peers["result"].is_free or not peers["self"].is_free or _may_be_nan(result):
        return _NONE
    return {"self": StandIn(values == result, "result", lambda winner: winner)}


def _ordered(node: Any, peers: Peers) -> StandIns:
    """The greater or smaller of two: each is one where it is not the smaller, so that ties are ties."""
    first, second = peers["self"], peers["other"]
    if not (first.is_free and second.is_free) or first.tensor.size() != second.tensor.size():
        return _NONE
    if first.tensor.dtype != second.tensor.dtype:
        return _NONE
    one, other = first.tensor >= second.tensor, second.tensor >= first.tensor
    if _lacks(one | other):
        return _NONE  # a NaN
    return {"self": StandIn(one), "other": StandIn(other)}


def _scattered(node: Any, peers: Peers) -> StandIns:
    """The extreme of what an index brings together."""
    values, source, result = peers["self"], peers["src"], peers["result"]
    index = peers["index"].tensor
    if getattr(node, "_saved_reduce", "") not in ("amax", "amin") or index.size() != source.tensor.size():
        return _NONE
    if not (values.is_free and source.is_free and result.is_free):
        return _NONE
    value = result.tensor.gather(signed(node._saved_dim), index)
    return _compared(values.tensor == result.tensor, "src", source.tensor == value)


def _indexed(node: Any, peers: Peers) -> StandIns:
    """The same of whole slices."""
    values, source, result = peers["self"], peers["source"], peers["result"]
    if getattr(node, "_saved_reduce", "") not in ("amax", "amin"):
        return _NONE
    if not (values.is_free and source.is_free and result.is_free):
        return _NONE
    value = result.tensor.index_select(signed(node._saved_dim), peers["index"].tensor)
    if value.size() != source.tensor.size():
        return _NONE
    return _compared(values.tensor == result.tensor, "source", source.tensor == value)


def _compared(own: Tensor, slot: str, others: Tensor) -> StandIns:
    return {"self": StandIn(own), slot: StandIn(others), "result": StandIn(None)}


def _may_be_nan(tensor: Tensor) -> bool:
    return not tensor.is_cpu or (type(tensor) is not FakeTensor and bool(tensor.isnan().any()))


def _lacks(flags: Tensor) -> bool:
    """Whether some flag is not set; on devices, where looking would wait, it may be."""
    return not flags.is_cpu or (type(flags) is not FakeTensor and not bool(flags.all()))


COMPARING: Mapping[str, tuple[tuple[str, ...], Callable[[Any, Peers], StandIns]]] = {
    "AmaxBackward0": (("self", "result"), _reduced),
    "AminBackward0": (("self", "result"), _reduced),
    "MaxBackward1": (("self", "result"), _reduced_all),
    "MinBackward1": (("self", "result"), _reduced_all),
    "MedianBackward0": (("self", "result"), _reduced_all),
    "NanmedianBackward0": (("self", "result"), _reduced_all),
    "MaximumBackward0": (("self", "other"), _ordered),
    "MinimumBackward0": (("self", "other"), _ordered),
    "FmaxBackward0": (("self", "other"), _ordered),
    "FminBackward0": (("self", "other"), _ordered),
    "ScatterReduceBackward0": (("self", "src", "index", "result"), _scattered),
    "IndexReduceBackward0": (("self", "source", "index", "result"), _indexed),
}
"""For each node the slots that must be known, and what finds their stand-ins."""

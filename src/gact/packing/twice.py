"""How fine codes must be of what is a factor twice along one path of backward, around a function that turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import is_at_hand
from ..autograd.nodes import held_by
from ..operators.need import Need, exact
from ..operators.twice import OTHERS, Step, is_of_itself, may_be_again, origin_of
from ..saved.packed import Packed
from ..saved.save import Save
from .outweighed import serves
from .reading import saved_in
from .sites import Sites

_PART = 3.0
"""Such a part of the distance within which the function turns may a step be."""
_FINER = 2.0
"""So many times as fine must codes be than they had to before, for a site to be told anew."""
_EXACT = exact("a factor twice, around a function that turns")


class _Again(NamedTuple):
    """A factor that a product further back has as well.

    Attributes:
        save: Its save there.
        step: How large the steps of its codes may be.
    """

    save: Save
    step: float


def fine_enough(save: Save, node: Node, slot: str, needed: Need, sites: Sites) -> Need:
    """The need of a factor of a product, with steps that are small beside the turn of a function it is read around.

    Args:
        save: The save.
        node: Its node.
        slot: Its slot.
        needed: What the node itself needs.
        sites: Know which factors are read twice.
    """
    if node.name() not in OTHERS:
        return needed
    site, region = save.place, save.region
    if region is not None and (site not in sites.shown or site in sites.twice):
        for again in _again(save, node, slot):
            _lower(sites, again.save, again.step)
            if again.save.identity != save.identity:
                _lower(sites, save, again.step * _ratio(region, again.save))
                continue
            _lower(sites, save, again.step)
            if not _is_fine(again.save, replace(needed, step=sites.twice[site]), region):
                needed = _EXACT
    if needed is _EXACT or site not in sites.twice:
        return needed
    return replace(needed, step=sites.twice[site]) if region is None or is_at_hand(region) else _EXACT


def _again(save: Save, node: Node, slot: str) -> Iterator[_Again]:
    origin = None
    for step in may_be_again(node, slot):
        for held, held_slot in held_by(step.node):
            if held_slot != step.slot or type(held) is not Save or held.site is None or type(held.result) is not Packed:
                continue
            if held.identity != save.identity:
                origin = origin or origin_of(node, slot)
                if origin is None or origin_of(step.node, step.slot) != origin:
                    continue
            if is_of_itself(step.node, step.slot):
                continue
            yield _Again(held, _largest_step(step))


def _largest_step(step: Step) -> float:
    """How large the steps of a factor may be, so that they are small beside the turn of what its product goes to."""
    times = 1.0
    for node, slot in step.factors:
        value = saved_in(node, slot)
        if value is not None and value.numel() and is_at_hand(value) and value.is_floating_point():
            times *= float(value.detach().abs().amax())
    return step.turn / (_PART * times) if times > 0 else step.turn / _PART


def _lower(sites: Sites, save: Save, step: float) -> None:
    """Notes how large the steps of a site may be, unless that is about what is known."""
    known = sites.twice.get(save.place)
    if known is None or not step * _FINER > known:
        sites.twice[save.place] = step


def _ratio(region: Tensor, other: Save) -> float:
    """How many times as large a region is as another."""
    value = other.result.held.decode(other.result.layout) if type(other.result) is Packed else None
    if value is None or not is_at_hand(region) or not is_at_hand(value):
        return 1.0
    most = float(value.abs().amax())
    return float(region.detach().abs().amax()) / most if most > 0 else 1.0


def _is_fine(save: Save, needed: Need, region: Tensor) -> bool:
    """Whether the code of a region, if it has one, has steps that are small enough."""
    return type(save.result) is not Packed or serves(save.result.held, needed, region, save.step.ledger)

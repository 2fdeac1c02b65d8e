"""Holds one or two values in the place of several that are functions of them.

NOTE: Functions that are written out
A GELU of powers and a tanh has backward multiply the gradient with three values, and a weight gradient reads its
result. All are functions of each element of one value, and of nothing else. Eight bits of that one take less than three
or four codes of four bits, and their rounding is so small that bends between code and reader leave next to no bias, as
long as steps are small beside the distance within which the functions turn. That is looked at when the code runs, as
outside of compiled code (``saved/coarse.py``): a value whose steps would be larger has more bits or stays exact.

NOTE: Widths
The graph is the same for all widths, so what is chosen may take no more at 4 bits, and has the bits of all that it
stands for together when the code runs: six at least, of which no function has a bias to speak of, and eight at most. A
value that all others are lines of, such as the other factor of a gate, has the width that it would have by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import fx

from ..operators.aten import MAGNITUDES, STEEP, name_of
from ..operators.need import VALUE, Need
from .choice import Choice
from .joint import is_pure
from .lines import PART
from .plan import Plan, wider
from .turns import CURVES, LINES, POINTWISE, Turns
from .values import can_be_coded, is_float, numel

_USUAL = 4
"""Bits of a code at which bytes are compared."""
_LEAST, _MOST = 6, 8
_SOURCES = 2
_FAR = 64
"""Steps between values and what they may be made of."""
_FORMS = ("", MAGNITUDES)
_Set = frozenset[fx.Node]


class _Offer(NamedTuple):
    """What may be held in the place of some values.

    Attributes:
        sources: What is held.
        needs: Its needs.
        values: What is made of it.
        gain: Bits for each element that it saves at the usual width.
    """

    sources: _Set
    needs: dict[fx.Node, Need]
    values: list[fx.Node]
    gain: int


class Sharing:
    """Changes a plan so that what several values are made of is held, and not they.

    Args:
        choice: What is held for each reader.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice, self._plan = choice, choice.plan
        self._sets: dict[fx.Node, list[_Set]] = {}
        self._served: dict[_Set, list[fx.Node]] = {}
        self._done: set[fx.Node] = set()

    def run(self) -> Plan:
        """The plan."""
        packed = self._plan.packed
        for node in [each for each in packed if self._is_plain(each)]:
            found = self._sources(node)
            if found and not found[-1]:
                del packed[node]  # made of what is exact
                continue
            for each in found:
                self._served.setdefault(each, []).append(node)
        # Of sets that serve alike the first, which most may share.
        sets = sorted(filter(None, self._served), key=sorted)
        offers = [offer for each in sets if (offer := self._offer(each)) is not None]
        while offers:
            best = max(offers, key=lambda offer: (offer.gain, len(offer.values)))
            self._take(best)
            taken = {*best.values, *best.needs}
            changed = [self._offer(each.sources) if taken & set(each.values) else each for each in offers]
            offers = [offer for offer in changed if offer is not None]
        return self._plan

    def _take(self, offer: _Offer) -> None:
        packed = self._plan.packed
        for node in offer.values:
            if node not in offer.sources:
                del packed[node]
        for node, need in offer.needs.items():
            packed[node] = wider(packed.get(node), need)
        self._done.update(offer.values, offer.needs)

    def _offer(self, sources: _Set) -> _Offer | None:
        """What is gained by holding these; None if it is nothing."""
        sets = [sources, *(frozenset((each,)) for each in sources if len(sources) > 1)]
        served = [node for each in sets for node in self._served.get(each, ()) if node not in self._done]
        if len(served) <= len(sources) or self._are_related(sources):
            return None
        turns = {each: self._turns(each, sources) for each in sources}
        served = [node for node in served if all(each.of(node) for each in turns.values())]
        distances = {each: min((found.of(node) for node in served), default=math.inf) for each, found in turns.items()}
        bent = [each for each in sources if distances[each] < math.inf]
        bits = sum(max(self._plan.packed[each].min_bits, _USUAL) for each in served)
        left = bits - _USUAL * (len(sources) - len(bent))
        if len(served) <= len(sources) or not bent or left < _MOST * len(bent):
            return None
        times = left // (_USUAL * len(bent))
        needs = dict.fromkeys(sources, VALUE)
        needs.update({each: replace(VALUE, min_bits=_LEAST, turn=distances[each], times=times) for each in bent})
        return _Offer(sources, needs, served, left - _MOST * len(bent))

    def _turns(self, source: fx.Node, sources: _Set) -> Turns:
        others = sources - {source}
        return Turns(source, lambda node: node in others or self._choice.can_be_had(node), self._inputs)

    def _are_related(self, sources: _Set) -> bool:
        """Whether one is a function of another: of roundings of both, their values would not go together."""
        for node in sources:
            waiting: set[fx.Node] | None = {node}
            for _ in range(_FAR):
                if waiting is None:
                    break
                if waiting & (sources - {node}):
                    return True
                waiting = self._step(waiting)
        return False

    def _is_plain(self, node: fx.Node) -> bool:
        need = self._plan.packed[node]
        return need.kind == "value" and need.form in _FORMS and is_float(node)

    def _sources(self, node: fx.Node) -> list[_Set]:
        """Sets of values that may be held in the place of one, which is a function of each element of theirs.

        The last is empty if it is one of what backward has exactly.
        """
        found = self._sets.get(node)
        if found is None:
            found = self._sets[node] = []
            waiting: set[fx.Node] | None = {node}
            for _ in range(_FAR):
                if waiting is None:
                    break
                nodes, waiting = waiting, self._step(waiting)
                # Of values that differ by a number the first: its size is what functions of it are written for.
                is_last = waiting is None or len(waiting) != len(nodes) or not self._is_scaled(nodes - waiting)
                if is_last and len(nodes) <= _SOURCES and all(self._may_be_held(each, node) for each in nodes):
                    found.append(frozenset(nodes))
        return found

    def _step(self, nodes: set[fx.Node]) -> set[fx.Node] | None:
        """Values with what one of them is made of in its place; None if other elements have to do with each."""
        for latest in sorted(nodes, reverse=True):
            before = self._before(latest)
            if before is not None:
                return nodes - {latest} | before
        return None

    def _before(self, node: fx.Node) -> set[fx.Node] | None:
        """What a value is made of that backward does not have exactly; None if other elements have to do with it."""
        target, args, kwargs = self._inputs(node)
        if name_of(target) not in POINTWISE or not is_pure(node):
            return None
        found: list[fx.Node] = []
        fx.map_arg((args, dict(kwargs)), found.append)
        exact = [each for each in found if self._choice.can_be_had(each)]
        found = [each for each in found if each not in exact]
        alike = all(is_float(each) and numel(each) == numel(node) for each in found)
        return set(found) if alike and not any(self._is_statistic(each, node) for each in exact) else None

    def _is_statistic(self, node: fx.Node, of: fx.Node) -> bool:
        """Whether a value was computed of many elements of another: where those differ little it enlarges rounding."""
        return not self._choice.lines.is_constant(node) and PART * numel(node) <= numel(of)

    def _is_scaled(self, nodes: set[fx.Node]) -> bool:
        """Whether a value is another, or that with a number added or multiplied."""
        (node,) = nodes
        target, args, _ = self._inputs(node)
        inputs = [each for each in args if isinstance(each, fx.Node)]
        return name_of(target) in LINES and len(inputs) == 1

    def _may_be_held(self, source: fx.Node, node: fx.Node) -> bool:
        if source in self._plan.packed and not self._is_plain(source):
            return False
        # What a curve gives has a range of its own: of 1 less the square of a tanh rounding may be all that is left.
        is_curve = name_of(source.target) in CURVES | STEEP
        return can_be_coded(source) and not is_curve and numel(source) == numel(node)

    def _inputs(self, node: fx.Node) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
        """Operator and arguments by which backward makes a node."""
        made = self._plan.made.get(node)
        return (node.target, node.args, node.kwargs) if made is None else (*made, {})

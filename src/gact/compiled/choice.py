"""Which values are held for backward, each in which way.

NOTE: Where a value is taken
What backward multiplies with the gradient is read linearly, so its codes are right on average at any width. Were codes
of something further up taken instead, every bend on the way would turn rounding into bias: the slope of GELU, the
exponential of softmax. So what is held is what is read, or what that is made of by linear steps alone (a shift by a
bias, a mask of dropout), where several readers share it.

NOTE: Statistics
Before a norm, one row or channel may be a thousand times as large as its neighbour, and groups would span the two.
So where a value and its product with a statistic are both at hand, the product is held: the other is that, divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from torch import fx

from ..operators.aten import EXPONENTIALS, MAGNITUDES, STEEP, name_of
from ..operators.need import WIDE, Need
from .joint import Joint
from .lines import PART, Lines
from .plan import Plan, wider
from .probabilities import WEIGHED, taken_out
from .signs import WHY, as_integer
from .steep import needs_of
from .values import can_be_coded, exceeds_one, is_float, is_small, is_symbol, numel, tensor_of

_OF_TWO = {"mul"}


class Choice:
    """Chooses what is held.

    Args:
        joint: The forward graph and what backward reads.

    Attributes:
        joint: See above.
        plan: The result.
        lines: Tells which values are lines of others.
    """

    def __init__(self, joint: Joint) -> None:
        self.joint = joint
        self.plan = Plan()
        self._roots: dict[fx.Node, frozenset[fx.Node]] = {}
        self._had: dict[fx.Node, bool] = {}
        self._saved = frozenset(joint.saved)
        self._signs: set[fx.Node] = set()
        self.lines = Lines(joint, self.plan, self.can_be_had, self.keep)
        needs = needs_of(joint)
        self._hold_exactly(needs)
        self._hold_discrete(needs)
        self._hold_signs(needs)
        self._hold_values(needs)

    def can_be_had(self, node: fx.Node) -> bool:
        """Whether backward can have a node exactly, from what is held exactly."""
        known = self._had.get(node)
        if known is None:
            known = self._had[node] = self._is_had(node)
        return known

    def _is_had(self, node: fx.Node) -> bool:
        plan = self.plan
        if node in plan.kept or node in self._signs or self.joint.is_free(node):
            return True
        if node in plan.packed:
            return plan.packed[node].kind != "value"
        inputs = node.all_input_nodes
        return bool(inputs) and self.joint.is_cheap(node) and all(map(self.can_be_had, inputs))

    def roots(self, node: fx.Node) -> frozenset[fx.Node]:
        """The saved values from which backward computes a node as torch divided the graph."""
        found = self._roots.get(node)
        if found is None:
            if node in self._saved:
                found = frozenset((node,))
            elif self.joint.is_free(node):
                found = frozenset()
            else:
                found = frozenset().union(*(self.roots(each) for each in node.all_input_nodes))
            self._roots[node] = found
        return found

    def is_made_of(self, node: fx.Node, given: frozenset[fx.Node]) -> bool:
        """Whether backward can compute a node of some that are given, as torch divided the graph.

        Args:
            node: The node.
            given: The others.
        """
        if node in given or self.joint.is_free(node):
            return True
        inputs = node.all_input_nodes
        return bool(inputs) and self.joint.is_cheap(node) and all(self.is_made_of(each, given) for each in inputs)

    def keep(self, node: fx.Node, why: str) -> None:
        """Holds a node exactly: as a code without loss if it is no float.

        Args:
            node: The node.
            why: The reason.
        """
        if self.joint.is_free(node) and node not in self._saved:
            return
        if node in self.plan.kept:
            return
        if not is_float(node) and node not in self.joint.inputs and can_be_coded(node):
            self.plan.packed[node] = Need("exact")
        else:
            self.plan.kept[node] = why
        self._had.clear()

    def _hold_exactly(self, needs: dict[fx.Node, Need]) -> None:
        """Holds what is read exactly: what torch saved for it, or itself if that takes less."""
        for node, need in needs.items():
            if need.kind in ("value", "mask") and can_be_coded(node) and is_float(node):
                continue
            if is_symbol(node) or self.joint.is_free(node):
                continue
            if not is_float(node) and tensor_of(node) is not None:
                continue  # discrete values come next
            roots = [each for each in self.roots(node) if is_float(each) and not self.joint.is_free(each)]
            alone = tensor_of(node) is not None and numel(node) < sum(map(numel, roots))
            for each in [node] if alone else self.roots(node):
                self.keep(each, "small" if is_small(each) and need.kind == "value" else need.why or "small")

    def _hold_discrete(self, needs: dict[fx.Node, Need]) -> None:
        """Holds truth values and integers: what they are made of if that is exact, else they themselves."""
        for node in [*needs, *self._masks(needs)]:
            if is_float(node) or tensor_of(node) is None or self.can_be_had(node):
                continue
            if any(is_float(each) for each in self.roots(node) if each not in self.plan.kept):
                self.keep(node, "compared")
            else:
                for each in self.roots(node):
                    self.keep(each, "index")

    def _hold_signs(self, needs: dict[fx.Node, Need]) -> None:
        """Holds floats that are signs as integers."""
        for node in needs:
            if not self.can_be_had(node) and (integers := as_integer(node, self.joint, self.plan)) is not None:
                self._signs.add(node)
                self.keep(integers, WHY)

    def _masks(self, needs: dict[fx.Node, Need]) -> Iterator[fx.Node]:
        """Truth values and integers from which values are computed that are read."""
        seen: set[fx.Node] = set()
        waiting = [node for node in needs if is_float(node)]
        while waiting:
            node = waiting.pop()
            if node in seen or node in self._saved:
                continue
            seen.add(node)
            for each in node.all_input_nodes:
                if tensor_of(each) is not None and not is_float(each):
                    yield each
                else:
                    waiting.append(each)

    def _hold_values(self, needs: dict[fx.Node, Need]) -> None:
        wanted = {node: need for node, need in needs.items() if is_float(node) and not self.can_be_had(node)}
        for logarithm, need in taken_out(wanted, self.joint):
            if need is None:
                self.keep(logarithm, WEIGHED)
            else:
                self.plan.packed[logarithm] = need
        # The bound of attention's scores is taken of queries and keys themselves.
        lines = {node: [node] if need.form else list(self.lines.of(node)) for node, need in wanted.items()}
        shared = Counter(each for line in lines.values() for each in line)
        for node, need in wanted.items():
            line = [each for each in lines[node] if can_be_coded(each)]
            if not line:
                for each in self.roots(node):
                    self.keep(each, "overlapping elements")
                continue
            # The nearest of those that most readers share.
            chosen = max(line, key=lambda each: shared[each])
            if self._is_steep(maker := self.lines.maker(chosen)):
                self.keep(chosen, "steep function")
                continue
            guarded = not need.form and (name_of(maker.target) in EXPONENTIALS or _is_quotient(maker))
            need = replace(need, form=MAGNITUDES) if guarded else need
            need = wider(need, WIDE) if chosen in self.lines.few else need
            self.plan.packed[chosen] = wider(self.plan.packed.get(chosen), need)
        self._drop(wanted, shared)

    def _drop(self, wanted: dict[fx.Node, Need], shared: Counter[fx.Node]) -> None:
        """Drops what can be made of two other values that are held, by a sum or a product and steps that are linear."""
        packed = self.plan.packed
        for node in wanted:
            need = packed.get(node)
            if need is None or shared[node] > 1 or need.form not in ("", MAGNITUDES) or need.min_bits > 1:
                continue
            del packed[node]
            end = self._end(node)
            parts = [self._end(each) for each in end.all_input_nodes] if name_of(end.target) in _OF_TWO else []
            if len(parts) != 2 or parts[0] is parts[1] or not all(each in packed for each in parts):
                packed[node] = need

    def _end(self, node: fx.Node) -> fx.Node:
        """The first value before this one, or itself, that is held or made by no linear step of one value."""
        while node not in self.plan.packed and not self.can_be_had(node):
            before = self.lines.before(node)
            if before is None:
                break
            node = before
        return node

    def _is_steep(self, maker: fx.Node, depth: int = 4) -> bool:
        """Whether what a node gives may be near a pole, as a product of such values may be."""
        name = name_of(maker.target)
        if name == "pow":
            exponent = maker.args[1]
            if not isinstance(exponent, (int, float)) or exponent < 0 or exponent != int(exponent):
                return True
        if name not in ("mul", "pow") or not depth:
            return name in STEEP and not (name == "reciprocal" and exceeds_one(maker.args[0]))
        # A factor of few elements is a statistic.
        large = [each for each in maker.all_input_nodes if is_float(each) and PART * numel(each) > numel(maker)]
        return any(self._is_steep(self.lines.maker(each), depth - 1) for each in large)


def _is_quotient(node: fx.Node) -> bool:
    """Whether a value was divided by as many numbers, of which some may be small."""
    divisor = node.args[1] if name_of(node.target) == "div" else None
    return isinstance(divisor, fx.Node) and is_float(divisor) and PART * numel(divisor) > numel(node)

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

import torch
from torch import fx

from ..operators.aten import EXPONENTIALS, FACTORS, MAGNITUDES, STEEP, TERMS, VIEWS, name_of
from ..operators.need import Need
from .joint import Joint
from .plan import Plan, wider
from .probabilities import WEIGHED, taken_out
from .steep import needs_of
from .values import can_be_coded, exceeds_one, is_float, is_reciprocal, is_small, is_symbol, numel, tensor_of

_OF_TWO = TERMS | {"mul"}
_PART = 8
"""A statistic has at least so many times fewer elements than what it is of."""


class Choice:
    """Chooses what is held.

    Args:
        joint: The forward graph and what backward reads.

    Attributes:
        plan: The result.
    """

    def __init__(self, joint: Joint) -> None:
        self._joint = joint
        self.plan = Plan()
        self._roots: dict[fx.Node, frozenset[fx.Node]] = {}
        self._had: dict[fx.Node, bool] = {}
        self._saved = frozenset(joint.saved)
        needs = needs_of(joint)
        self._hold_exactly(needs)
        self._hold_discrete(needs)
        self._hold_values(needs)

    def can_be_had(self, node: fx.Node) -> bool:
        """Whether backward can have a node exactly, from what is held exactly."""
        known = self._had.get(node)
        if known is None:
            known = self._had[node] = self._is_had(node)
        return known

    def _is_had(self, node: fx.Node) -> bool:
        plan = self.plan
        if node in plan.kept or self._joint.is_free(node):
            return True
        if node in plan.packed:
            return plan.packed[node].kind != "value"
        inputs = node.all_input_nodes
        return bool(inputs) and self._joint.is_cheap(node) and all(map(self.can_be_had, inputs))

    def roots(self, node: fx.Node) -> frozenset[fx.Node]:
        """The saved values from which backward computes a node as torch divided the graph."""
        found = self._roots.get(node)
        if found is None:
            if node in self._saved:
                found = frozenset((node,))
            elif self._joint.is_free(node):
                found = frozenset()
            else:
                found = frozenset().union(*(self.roots(each) for each in node.all_input_nodes))
            self._roots[node] = found
        return found

    def _keep(self, node: fx.Node, why: str) -> None:
        """Holds a node exactly: as a code without loss if it is no float."""
        if self._joint.is_free(node) and node not in self._saved:
            return
        if node in self.plan.kept:
            return
        if not is_float(node) and node not in self._joint.inputs and can_be_coded(node):
            self.plan.packed[node] = Need("exact")
        else:
            self.plan.kept[node] = why
        self._had.clear()

    def _hold_exactly(self, needs: dict[fx.Node, Need]) -> None:
        """Holds what is read exactly: what torch saved for it, or itself if that takes less."""
        for node, need in needs.items():
            if need.kind in ("value", "mask") and can_be_coded(node) and is_float(node):
                continue
            if is_symbol(node) or self._joint.is_free(node):
                continue
            if not is_float(node) and tensor_of(node) is not None:
                continue  # discrete values come next
            roots = [each for each in self.roots(node) if is_float(each) and not self._joint.is_free(each)]
            alone = tensor_of(node) is not None and numel(node) < sum(map(numel, roots))
            for each in [node] if alone else self.roots(node):
                self._keep(each, "small" if is_small(each) and need.kind == "value" else need.why or "small")

    def _hold_discrete(self, needs: dict[fx.Node, Need]) -> None:
        """Holds truth values and integers: what they are made of if that is exact, else they themselves."""
        for node in [*needs, *self._masks(needs)]:
            if is_float(node) or tensor_of(node) is None or self.can_be_had(node):
                continue
            if any(is_float(each) for each in self.roots(node) if each not in self.plan.kept):
                self._keep(node, "compared")
            else:
                for each in self.roots(node):
                    self._keep(each, "index")

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
        for logarithm, need in taken_out(wanted, self._joint):
            if need is None:
                self._keep(logarithm, WEIGHED)
            else:
                self.plan.packed[logarithm] = need
        # The bound of attention's scores is taken of queries and keys themselves.
        lines = {node: [node] if need.form else list(self._line(node)) for node, need in wanted.items()}
        shared = Counter(each for line in lines.values() for each in line)
        for node, need in wanted.items():
            line = [each for each in lines[node] if can_be_coded(each)]
            if not line:
                for each in self.roots(node):
                    self._keep(each, "overlapping elements")
                continue
            # The nearest of those that most readers share.
            chosen = max(line, key=lambda each: shared[each])
            if self._is_steep(maker := self._maker(chosen)):
                self._keep(chosen, "steep function")
                continue
            guarded = name_of(maker.target) in EXPONENTIALS and not need.form
            need = replace(need, form=MAGNITUDES) if guarded else need
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
            before = self._before(node)
            if before is None:
                break
            node = before
        return node

    def _maker(self, node: fx.Node) -> fx.Node:
        """What has made a value, linear steps after it looked through."""
        while True:
            before = node.args[0] if name_of(node.target) == "masked_fill" else self._before(node)
            if not isinstance(before, fx.Node) or before.op != "call_function":
                return node
            node = before

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
        large = [each for each in maker.all_input_nodes if is_float(each) and _PART * numel(each) > numel(maker)]
        return any(self._is_steep(self._maker(each), depth - 1) for each in large)

    def _line(self, node: fx.Node) -> Iterator[fx.Node]:
        """A value, and those before it that give it by linear steps and are no larger."""
        most = numel(node)
        at: fx.Node | None = node
        while at is not None and not self.can_be_had(at):
            scaled = self._scaled(at)
            if scaled is not None:
                yield scaled
                yield at
                return
            if numel(at) <= most:
                yield at
            at = self._before(at)

    def _before(self, node: fx.Node) -> fx.Node | None:
        """The value that a linear step makes this one of; None if it is made otherwise."""
        if node in self.plan.made:
            return next(each for each in self.plan.made[node][1] if isinstance(each, fx.Node) and is_float(each))
        name = name_of(node.target) if node.op == "call_function" else ""
        if name in VIEWS:
            before = node.args[0]
            return before if isinstance(before, fx.Node) and is_float(before) else None
        if name == "neg" or (name == "pow" and node.args[1] == 1):
            return node.args[0]  # type: ignore[return-value]
        if name in FACTORS | TERMS and "rounding_mode" not in node.kwargs:
            return self._carrier(node)
        if name == "where":
            return self._chosen(node)
        return self._rectified(node) if name == "relu" else None

    def _carrier(self, node: fx.Node) -> fx.Node | None:
        """The argument that a sum or product is linear in, where the other is a constant, a parameter or a mask."""
        first, second = node.args[0], node.args[1]
        if not isinstance(second, fx.Node):
            return first if isinstance(first, fx.Node) and is_float(first) else None
        if not isinstance(first, fx.Node):
            return None
        for carrier, other in ((first, second), (second, first)):
            if name_of(node.target) == "div" and carrier is second:
                break
            if is_float(carrier) and not self.can_be_had(carrier) and self._is_constant(other):
                return carrier
        return None

    def _is_constant(self, node: fx.Node) -> bool:
        """Whether a node is made of parameters, constants and truth values that are held."""
        if self._joint.is_free(node):
            return True
        tensor = tensor_of(node)
        if tensor is not None and tensor.dtype is torch.bool:
            return self.can_be_had(node)
        inputs = node.all_input_nodes
        if not inputs or name_of(node.target) not in VIEWS | FACTORS | TERMS | {"where"}:
            return False
        return all(self._is_constant(each) for each in inputs)

    def _chosen(self, node: fx.Node) -> fx.Node | None:
        """The value that ``where`` takes, where the other is a constant and the truth values are held."""
        condition, *values = node.args
        if not isinstance(condition, fx.Node) or not self.can_be_had(condition):
            return None
        floats = [each for each in values if isinstance(each, fx.Node) and not self._is_constant(each)]
        return floats[0] if len(floats) == 1 and is_float(floats[0]) else None

    def _rectified(self, node: fx.Node) -> fx.Node | None:
        """What ReLU was applied to, where it is held which elements it let pass."""
        for mask in node.users:
            if name_of(mask.target) == "le" and mask.args == (node, 0) and self.can_be_had(mask):
                before = node.args[0]
                assert isinstance(before, fx.Node)
                self.plan.made[node] = torch.ops.aten.where.self, (mask, self._joint.zero(before), before)
                return before
        return None

    def _scaled(self, node: fx.Node) -> fx.Node | None:
        """The product of a value and the reciprocal of its deviation, which is held in its place."""
        for product in node.users:
            if name_of(product.target) != "mul" or len(product.args) != 2 or not can_be_coded(product):
                continue
            others = [each for each in product.args if each is not node]
            if len(others) != 1 or not isinstance(others[0], fx.Node) or not is_reciprocal(others[0]):
                continue
            scale = others[0]
            if _PART * numel(scale) > numel(node):
                continue
            if not self.can_be_had(scale):
                self.plan.kept[scale] = "statistic"
                self._had.clear()
            self.plan.made[node] = torch.ops.aten.div.Tensor, (product, scale)
            return product
        return None

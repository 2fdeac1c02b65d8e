"""Which values are lines of others: what backward makes of one by a shift, a constant factor, a mask or a view."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import fx

from ..operators.aten import FACTORS, TERMS, VIEWS, name_of
from ..operators.need import FEW
from .joint import Joint
from .plan import Plan
from .values import can_be_coded, is_float, is_reciprocal, numel, tensor_of

PART = 8
"""A statistic has at least so many times fewer elements than what it is of."""


class Lines:
    """Looks for what may be held in the place of a value.

    Args:
        joint: The forward graph and what backward reads.
        plan: What is held; statistics that are to be held, and how values are made of others, are noted there.
        can_be_had: Whether backward has a node exactly.
        keep: Holds a node exactly, with the reason.

    Attributes:
        few: Normalised values of few elements for each statistic: gradients almost cancel in a norm of few.
    """

    def __init__(
        self, joint: Joint, plan: Plan, can_be_had: Callable[[fx.Node], bool], keep: Callable[[fx.Node, str], None]
    ) -> None:
        self._joint, self._plan, self._can_be_had, self._keep = joint, plan, can_be_had, keep
        self.few: set[fx.Node] = set()

    def maker(self, node: fx.Node) -> fx.Node:
        """What has made a value, linear steps after it looked through."""
        while True:
            before = node.args[0] if name_of(node.target) == "masked_fill" else self.before(node)
            if not isinstance(before, fx.Node) or before.op != "call_function":
                return node
            node = before

    def of(self, node: fx.Node) -> Iterator[fx.Node]:
        """A value, and those before it that give it by linear steps and are no larger."""
        most = numel(node)
        at: fx.Node | None = node
        while at is not None and not self._can_be_had(at):
            if (quotient := self._divided(at)) is not None:
                at = quotient
                continue
            scaled = self._scaled(at)
            if scaled is not None:
                yield scaled
                yield at
                return
            if numel(at) <= most:
                yield at
            at = self.before(at)

    def before(self, node: fx.Node) -> fx.Node | None:
        """The value that a linear step makes this one of; None if it is made otherwise."""
        if node in self._plan.made:
            return next(each for each in self._plan.made[node][1] if isinstance(each, fx.Node) and is_float(each))
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
            if is_float(carrier) and not self._can_be_had(carrier) and self.is_constant(other):
                return carrier
        return None

    def is_constant(self, node: fx.Node) -> bool:
        """Whether a node is made of parameters, constants and truth values that are held."""
        if self._joint.is_free(node):
            return True
        tensor = tensor_of(node)
        if tensor is not None and tensor.dtype is torch.bool:
            return self._can_be_had(node)
        inputs = node.all_input_nodes
        if not inputs or name_of(node.target) not in VIEWS | FACTORS | TERMS | {"where"}:
            return False
        return all(self.is_constant(each) for each in inputs)

    def _chosen(self, node: fx.Node) -> fx.Node | None:
        """The value that ``where`` takes, where the other is a constant and the truth values are held."""
        condition, *values = node.args
        if not isinstance(condition, fx.Node) or not self._can_be_had(condition):
            return None
        floats = [each for each in values if isinstance(each, fx.Node) and not self.is_constant(each)]
        return floats[0] if len(floats) == 1 and is_float(floats[0]) else None

    def _rectified(self, node: fx.Node) -> fx.Node | None:
        """What ReLU was applied to, where it is held which elements it let pass.

        What it does not let pass might be so large that nothing would be left of the rest, unless it was normalised.
        """
        for mask in node.users:
            if name_of(mask.target) == "le" and mask.args == (node, 0) and self._can_be_had(mask):
                before = node.args[0]
                assert isinstance(before, fx.Node)
                if not self._is_normalised(before):
                    return None
                self._plan.made[node] = torch.ops.aten.where.self, (mask, self._joint.zero(before), before)
                return before
        return None

    def _divided(self, node: fx.Node) -> fx.Node | None:
        """The quotient that a statistic divides once more, as the backward of any division by one has it.

        A quotient is as large in one row as in another, and after a second division rows of small statistics are loud.
        """
        if name_of(node.target) != "div" or not isinstance(node.args[0], fx.Node):
            return None
        quotient, statistic = node.args[0], node.args[1]
        if name_of(quotient.target) != "div" or quotient.args[1] is not statistic or not isinstance(statistic, fx.Node):
            return None
        return quotient if self._can_be_had(statistic) and PART * numel(statistic) <= numel(node) else None

    def _is_normalised(self, node: fx.Node) -> bool:
        """Whether a value is a line of a product with the reciprocal of a deviation."""
        at: fx.Node | None = node
        while at is not None:
            if name_of(at.target) == "mul" and any(map(is_reciprocal, at.all_input_nodes)):
                return True
            at = self.before(at)
        return False

    def _scaled(self, node: fx.Node) -> fx.Node | None:
        """The product of a value and the reciprocal of its deviation, which is held in its place."""
        for product in node.users:
            if name_of(product.target) != "mul" or len(product.args) != 2 or not can_be_coded(product):
                continue
            others = [each for each in product.args if each is not node]
            if len(others) != 1 or not isinstance(others[0], fx.Node) or not is_reciprocal(others[0]):
                continue
            scale = others[0]
            if 2 * numel(scale) > numel(node):
                continue
            if numel(product) < FEW * numel(scale):
                self.few.add(product)
            if not self._can_be_had(scale):
                self._keep(scale, "statistic")
            self._plan.made[node] = torch.ops.aten.div.Tensor, (product, scale)
            return product
        return None

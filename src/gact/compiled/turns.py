"""Within which distance functions turn that a graph writes out: seen by computing them for many numbers.

A function of each element by itself can be computed for any numbers, so that how it bends needs no table of operators:
poles, kinks and jumps show as bends within the width of the grid. Where the grid does not show how a function bends,
because that is far wider or far narrower, or hangs on parameters, nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import fx

from ..autograd.internals import unset_fake_temporarily
from ..operators.aten import FACTORS, TERMS, VIEWS, name_of
from .values import tensor_of

Inputs = Callable[[fx.Node], tuple[Any, tuple[Any, ...], Mapping[str, Any]]]
"""Operator, positional and keyword arguments by which backward makes a node."""

LINES = VIEWS | FACTORS | TERMS | {"neg"}
"""Operators that are linear in each tensor."""
_CURVES_TEXT = """
    cos erf erfc exp exp2 gelu log1p mish pow reciprocal rsqrt sigmoid silu sin softplus sqrt tanh
"""
CURVES = frozenset(_CURVES_TEXT.split())
POINTWISE = (LINES | CURVES | {"where"}) - {"expand", "select", "slice"}
"""Operators of each element by itself."""

_COMPARISONS = frozenset({"gt", "ge", "lt", "le"})
_REACH, _COUNT = 64.0, 8193
_STEP = 2 * _REACH / (_COUNT - 1)
_LEAST = 0.2
"""What turns within less would hardly ever have codes that are fine enough."""
_GROWING = 1.0
"""Within which distance that is taken to turn which bends everywhere: as of exponentials outside of compiled code."""
_BENT = 1e-3
_DEEPEST = 50
"""Steps that a function has at most: what masks are made of may go back to the first layer."""


class _Seen(NamedTuple):
    """A value for all numbers of the grid.

    Attributes:
        value: The numbers, or one for all.
        moves: Whether they depend on those of the grid.
        curved: Whether they might do so in another way than by a line.
        known: Whether no parameter or mask has to do with them.
    """

    value: Any
    moves: bool = False
    curved: bool = False
    known: bool = True


class Turns:
    """How values turn that are functions of each element of one other.

    Args:
        source: That other value.
        is_given: Whether backward has a node exactly.
        inputs: How backward makes a node.
    """

    def __init__(self, source: fx.Node, is_given: Callable[[fx.Node], bool], inputs: Inputs) -> None:
        self._is_given, self._inputs = is_given, inputs
        with unset_fake_temporarily():
            grid = torch.linspace(-_REACH, _REACH, _COUNT, dtype=torch.float64, device="cpu")
        self._depth = 0
        self._seen: dict[fx.Node, _Seen | None] = {source: _Seen(grid, moves=True)}

    def of(self, node: fx.Node) -> float:
        """The distance within which a value turns, infinite if it is a line or a constant; 0 if it is not known.

        Args:
            node: The value.
        """
        with unset_fake_temporarily(), torch.no_grad():
            seen = self._see(node)
            if seen is None or not seen.moves:
                return 0.0 if seen is None else math.inf
            slopes = seen.value.diff() / _STEP
            bends = slopes.diff().abs_() / _STEP
            steepest, most = float(slopes.abs().amax()), float(bends.amax())
            if not math.isfinite(steepest) or not math.isfinite(most):
                return 0.0
            if not seen.curved:
                return math.inf
            if most <= _BENT * steepest:
                return 0.0  # it bends somewhere else
            grows = float(bends[[0, -1]].amax()) > _BENT * most
        turn = min(steepest / most, _GROWING) if grows else steepest / most
        return turn if turn >= _LEAST else 0.0

    def _see(self, node: fx.Node) -> _Seen | None:
        """A value for all numbers; None if nobody can tell."""
        if node not in self._seen:
            self._depth += 1
            self._seen[node] = self._constant(node) if self._is_given(node) else self._made(node)
            self._depth -= 1
        return self._seen[node]

    def _constant(self, node: fx.Node) -> _Seen:
        name, tensor = name_of(node.target), tensor_of(node)
        if name == "full" and isinstance(node.args[1], (int, float)):
            return _Seen(torch.tensor(float(node.args[1]), dtype=torch.float64, device="cpu"))
        if tensor is None or tensor.dtype is not torch.bool:
            return _Seen(torch.ones((), dtype=torch.float64, device="cpu"), known=False)
        seen = self._made(node) if name in _COMPARISONS else None
        return seen or _Seen(torch.ones((), dtype=torch.bool, device="cpu"), known=False)

    def _made(self, node: fx.Node) -> _Seen | None:
        target, args, kwargs = self._inputs(node)
        name = name_of(target)
        if name not in POINTWISE | _COMPARISONS or self._depth > _DEEPEST:
            return None
        nodes: dict[fx.Node, _Seen] = {}
        for each in filter(_is_node, args):
            seen = self._see(each)
            if seen is None:
                return None
            nodes[each] = seen
        is_known, moves = all(seen.known for seen in nodes.values()), any(seen.moves for seen in nodes.values())
        if name in VIEWS:
            return nodes[args[0]]
        bends = moves and (name in CURVES | _COMPARISONS or self._bends(name, args, nodes))
        if not is_known and bends and name != "mul":
            return None
        value = target(*fx.map_arg(args, lambda each: nodes[each].value), **kwargs)
        if not is_known and not moves:
            value = torch.ones_like(value)
        return _Seen(value, moves, bends or any(seen.curved for seen in nodes.values()), is_known)

    @staticmethod
    def _bends(name: str, args: tuple[Any, ...], nodes: Mapping[fx.Node, _Seen]) -> bool:
        """Whether a product, a quotient or a choice is no line of what it is made of."""
        moves = [_is_node(each) and nodes[each].moves for each in args]
        if name == "mul":
            return all(moves[:2])
        return (name == "div" and moves[1]) or (name == "where" and moves[0])


def _is_node(value: Any) -> bool:
    return isinstance(value, fx.Node)

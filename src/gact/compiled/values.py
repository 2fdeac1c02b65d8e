"""What is known of a node's tensor before it exists: size, layout and kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from ..autograd.internals import FakeTensor
from ..codecs.groups import DTYPES as FLOATS
from ..codecs.integers import DTYPES as INTEGERS
from ..operators.aten import RESHAPES, name_of
from ..ops.checks import is_dense

SMALL = 1024
"""Tensors of fewer elements are held as they are; statistics and the loss are among them."""

_PLAIN = (FakeTensor, Tensor)


def tensor_of(node: fx.Node) -> Tensor | None:
    """The fake tensor of a node; None if it is of another kind."""
    value = node.meta.get("val")
    return value if type(value) in _PLAIN else None


def reached(nodes: Iterable[fx.Node], onward: Callable[[fx.Node], Iterable[fx.Node]]) -> set[fx.Node]:
    """Nodes, and all that is reached from them.

    Args:
        nodes: Where to begin.
        onward: The nodes that one leads to: its readers, or what it is computed of.
    """
    found: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(onward(node))
    return found


def is_symbol(node: fx.Node) -> bool:
    """Whether a node is a number that is known at run time alone."""
    return isinstance(node.meta.get("val"), (torch.SymInt, torch.SymFloat, torch.SymBool, int, float, bool))


def hint(number: Any) -> int:
    """A number, or what a symbolic one was when the code was traced."""
    if isinstance(number, torch.SymInt):
        found = number.node.hint
        return 1 << 40 if found is None else int(found)
    return int(number)


def numel(node: fx.Node) -> int:
    """Elements of a node's tensor; 0 if it has none."""
    tensor = tensor_of(node)
    return 0 if tensor is None else math.prod(hint(each) for each in tensor.shape)


def nbytes(node: fx.Node) -> int:
    """Bytes of a node's tensor."""
    tensor = tensor_of(node)
    return 0 if tensor is None else numel(node) * tensor.dtype.itemsize


def is_float(node: fx.Node) -> bool:
    """Whether a node is a tensor of floating-point numbers."""
    tensor = tensor_of(node)
    return tensor is not None and tensor.is_floating_point()


def is_small(node: fx.Node) -> bool:
    """Whether a node's tensor is too small to be worth a code, whatever its symbols turn out to be."""
    tensor = tensor_of(node)
    if tensor is None:
        return True
    if any(isinstance(each, torch.SymInt) for each in tensor.shape) or numel(node) >= SMALL:
        return False
    return hint(tensor.untyped_storage().nbytes()) < 2 * SMALL * tensor.dtype.itemsize  # a part keeps all of it alive


def can_be_coded(node: fx.Node) -> bool:
    """Whether the codes can hold a node's tensor: its dtype, and dense in memory."""
    tensor = tensor_of(node)
    if tensor is None or tensor.layout is not torch.strided or is_small(node):
        return False
    if tensor.dtype not in FLOATS | INTEGERS | {torch.bool}:
        return False
    return is_dense([hint(each) for each in tensor.shape], [hint(each) for each in tensor.stride()])


def exceeds_one(node: Any) -> bool:
    """Whether a node is 1 more than an exponential, which is far from any pole: sigmoid and softplus are spelled so."""
    if not isinstance(node, fx.Node) or name_of(node.target) != "add":
        return False
    parts = node.args[:2]
    return 1 in parts and any(isinstance(each, fx.Node) and name_of(each.target) == "exp" for each in parts)


def is_reciprocal(node: fx.Node) -> bool:
    """Whether a node is the reciprocal of a root, which is neither zero nor infinite."""
    while name_of(node.target) in RESHAPES and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return name_of(node.target) == "rsqrt"

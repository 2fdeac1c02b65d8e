"""What divides, and what lies behind it through sums: rows of which little is left are divided by little.

NOTE: What is left of a row
A division by a sum, a mean or a norm, and so a normalisation, multiplies the gradient by one over what the row came to.
Where the greatest of the row is part of that, its rounding is small beside it. It is not where something between took
the greatest away (a mask, a selection, a small factor), or where the row shares the step of a code with larger ones:
the weights of a sharp softmax, masked and divided by what is left of their sum, may be a millionth of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import Node

from .steep import MATRICES, ON_THE_WAY, OWN, PRODUCTS, STEEP, parts_of

_MOST = 64
"""Nodes behind one that divides that are looked at."""
_NORMS = {
    "BatchNormWithUpdateBackward0": "result2",
    "CudnnBatchNormBackward0": "result2",
    "FusedRmsNormBackward0": "result1",
    "NativeBatchNormBackward0": "result2",
    "NativeBatchNormLegitBackward0": "result2",
    "NativeBatchNormLegitBackward1": "result2",
    "NativeGroupNormBackward0": "result2",
    "NativeLayerNormBackward0": "result2",
}
"""Fused normalisations, and where each has its reciprocal deviations."""
_DIVIDED = {
    "DivBackward0": "other",
    "PowBackward0": "self",
    "ReciprocalBackward0": "result",
    "RsqrtBackward0": "result",
}
"""Divisions, and where each has what it divides by, or something that tells it."""
ROWS = {"AddmmBackward0": "mat1", "BmmBackward0": "self", "MmBackward0": "self"}
"""Products of matrices, and the slot of what their rows are made of."""
_ROWS_AT = {"AddmmBackward0": 1, "BmmBackward0": 0, "MmBackward0": 0}
"""The argument that this is."""


def _functions() -> Iterable[Callable[..., Any]]:
    for name in ("batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm", "cosine_similarity"):
        yield from (getattr(place, name) for place in (torch, F))
    yield from (F.normalize, F.local_response_norm)


NORMALISING: frozenset[Any] = frozenset(_functions())
"""Functions of torch that normalise, after which it is looked what they divide by."""
LOOKED_AFTER = STEEP | NORMALISING


class Factor(NamedTuple):
    """What the gradient is multiplied by on the way: ``times * saved ** power``, of what a node has saved in a slot.

    Attributes:
        node: The node.
        slot: The slot.
        negated: Whether it is a mask of what is taken away.
        power: See above.
        times: See above.
    """

    node: Node
    slot: str
    negated: bool = False
    power: float = 1.0
    times: float = 1.0


class Size(NamedTuple):
    """How large what is left of a row is, as a function of what divides: ``times * divisor ** power``.

    Attributes:
        times: See above.
        power: See above.
    """

    times: float = 1.0
    power: float = 1.0

    def raised(self, exponent: float) -> Size:
        """A power of it."""
        return Size(self.times**exponent, self.power * exponent)

    def more(self, times: float) -> Size:
        """A multiple of it."""
        return Size(self.times * times, self.power)


class Behind(NamedTuple):
    """A node behind a divisor that multiplies the gradient by what it has saved.

    Attributes:
        node: The node.
        size: How large the row is in units of what the node gave.
        factors: What comes in between.
    """

    node: Node
    size: Size
    factors: tuple[Factor, ...]


_Step = tuple[tuple[Node | None, int], Size, tuple[Factor, ...]]
_COMPILED = "CompiledFunctionBackward"
_FEWER = 2
"""So many times fewer elements than what it sums has the result of compiled code that is taken for a sum, at least."""


def dividing_nodes(result: Any) -> list[Node]:
    """The nodes of a function that has just run which divide: that of its result, or those a little before it."""
    if isinstance(result, tuple):
        result = result[0] if result else None
    node = result.grad_fn if isinstance(result, Tensor) else None
    return [] if node is None else parts_of(node, divides)


def divides(node: Node) -> bool:
    """Whether a node divides by what may be a sum."""
    name = node.name()
    if name == "PowBackward0":
        exponent = getattr(node, "_saved_exponent", None)
        return isinstance(exponent, (int, float)) and exponent < 0
    return name in _DIVIDED or (name in _NORMS and bool(getattr(node, "_saved_training", True)))


def divisor_slot(node: Node) -> str:
    """Where a node that divides has what it divides by, or something that tells it."""
    name = node.name()
    return _DIVIDED.get(name) or _NORMS[name]


def is_reciprocal(node: Node) -> bool:
    """Whether that is a reciprocal.

    Args:
        node: A node that divides.
    """
    return node.name() not in ("DivBackward0", "PowBackward0")


def divisor(node: Node, value: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """What a node divides by, one number for each row, and the size of what is divided.

    Args:
        node: A node that divides.
        value: What it has in the slot that ``divisor_slot`` gives.
    """
    name = node.name()
    if not is_reciprocal(node):
        return value, size_of(node, 0)
    if name not in _NORMS:
        return value.reciprocal(), tuple(value.shape)
    earlier, at = node.next_functions[0]
    size = size_of(earlier, at)
    if value.dim() == 1 and "Batch" in name:
        value = value.view(1, -1, *(1 for _ in size[2:]))
    return value.reciprocal(), size


def behind_divisor(node: Node) -> Iterator[Behind]:
    """What lies behind the divisor of a node that divides, through ops that select and add and through products.

    Behind a layer it is only what the rows of other layers are made of: a quiet row stays one from layer to layer.

    Args:
        node: The node.
    """
    name, edges = node.name(), node.next_functions
    if name in _NORMS:
        first, size = edges[0], Size(math.sqrt(_count(node)))
    else:
        first = edges[1] if name == "DivBackward0" else edges[0]
        size = Size(power=2.0) if name == "RsqrtBackward0" else Size()
    coming: list[_Step] = [(first, size, ())]
    layers: list[_Step] = []
    seen = set[Node]()
    while (coming or layers) and len(seen) < _MOST:
        is_far = not coming
        (at, _), size, factors = (layers if is_far else coming).pop()
        if at is None or at in seen:
            continue
        seen.add(at)
        name = at.name()
        if name in ROWS or (not is_far and (name in OWN or (name in PRODUCTS and name not in MATRICES))):
            yield Behind(at, size, factors)
        if name not in OWN:
            further = list(_further(at, name, size, factors))
            if name in ROWS and not further:
                layers.append((at.next_functions[_ROWS_AT[name]], size, factors))
            (layers if is_far else coming).extend(further)
            coming.sort(key=lambda step: -step[1].times)  # what is divided by least comes first


def _further(node: Node, name: str, size: Size, factors: tuple[Factor, ...]) -> Iterator[_Step]:
    """The ways on from a node behind a divisor."""
    edges = node.next_functions
    kind = name.rstrip("0123456789").removesuffix("Backward")
    if kind in ("Mean", "Var", "Std"):
        count = _reduced(node)
        root = size.raised(0.5) if kind == "Var" else size
        yield edges[0], root.more(count if kind == "Mean" else math.sqrt(count)), factors
    elif kind == "Sqrt":
        yield edges[0], size.raised(2.0), factors
    elif name == "PowBackward0":
        exponent = getattr(node, "_saved_exponent", None)
        if not isinstance(exponent, (int, float)) or exponent <= 0:
            return
        if exponent < 1:
            yield edges[0], size.raised(1 / exponent), factors
        else:
            yield edges[0], size, (*factors, Factor(node, "self", power=exponent - 1.0, times=float(exponent)))
    elif name == "MulBackward0":
        for edge, other in zip(edges, ("other", "self"), strict=True):
            yield edge, size, (*factors, Factor(node, other))
    elif name == "DivBackward0":
        yield edges[0], size, (*factors, Factor(node, "other", power=-1.0))
    elif name in MATRICES:
        yield from _of_constants(node, size, factors)
    elif name == "WhereBackward0":
        for edge, negated in zip(edges[-2:], (False, True), strict=True):
            yield edge, size, (*factors, Factor(node, "condition", negated))
    elif kind == "MaskedFill":
        yield edges[0], size, (*factors, Factor(node, "mask", negated=True))
    elif name in ON_THE_WAY or kind in _ADDING:
        yield from ((edge, size, factors) for edge in edges)
    elif name == _COMPILED:
        count = _FEWER * math.prod(size_of(node, 0))
        yield from ((edge, size, factors) for edge in edges if math.prod(size_of(*edge)) >= count)


def _of_constants(node: Node, size: Size, factors: tuple[Factor, ...]) -> Iterator[_Step]:
    """The way on from a sum that is a product with a constant matrix, or vector."""
    edges, slots = node.next_functions, _FACTORS_OF_MATRICES[node.name()]
    if len(edges) == 2 and sum(edge is not None for edge, _ in edges) == 1:
        place = 0 if edges[0][0] is not None else 1
        yield edges[place], size, (*factors, Factor(node, slots[1 - place]))


_FACTORS_OF_MATRICES = {
    "BmmBackward0": ("self", "mat2"),
    "DotBackward0": ("self", "tensor"),
    "MmBackward0": ("self", "mat2"),
    "MvBackward0": ("self", "vec"),
}
_ADDING = frozenset({"Cumsum", "IndexAdd", "LinalgVectorNorm", "Norm", "ScatterAdd", "Sum"})


def size_of(node: Node | None, index: int) -> tuple[int, ...]:
    """The size of what a node gave; () if it does not tell."""
    told = getattr(node, "_input_metadata", None)
    if told is None or index >= len(told) or not hasattr(told[index], "shape"):
        return ()
    return tuple(told[index].shape)


def _reduced(node: Node) -> float:
    """How many elements a mean or a variance is of."""
    earlier, index = node.next_functions[0]
    return max(math.prod(size_of(earlier, index)) / max(math.prod(size_of(node, 0)), 1), 1.0)


def _count(node: Any) -> float:
    """How many elements a normalisation has one deviation of."""
    earlier, index = node.next_functions[0]
    size, name = size_of(earlier, index), node.name()
    if "Batch" in name:
        return max(math.prod(size) / max(size[1] if len(size) > 1 else 1, 1), 1.0)
    if "Group" in name:
        return max(float(node._saved_HxW * node._saved_C // node._saved_group), 1.0)
    return float(max(math.prod(node._saved_normalized_shape), 1))

"""How much of a row that is divided by is rounding, of codes that its division was seen after."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import is_at_hand
from ..autograd.nodes import held_by
from ..codecs.deviations import deviations, steps_of
from ..codecs.groups import Groups
from ..codecs.slopes import Slope
from ..codecs.transforms import LEAST_ROW
from ..operators.dividing import ROWS, Behind, Factor, Size, behind_divisor, divisor, divisor_slot, is_reciprocal
from ..operators.multiplying import beside, matrix_of, slope
from ..saved.held import WIDEST
from ..saved.packed import Packed
from ..saved.save import Save
from .reading import decoded, saved_in

_MANY = 2**16
"""So many numbers are not looked at in every step."""
_LARGE = 2**22
"""Of tensors with more elements some slices are looked at."""
_MOST = 16.0
"""Mean over rows of the square of what is rounding, in squared levels: rows of ordinary numbers have four."""


class Rows(NamedTuple):
    """What a node divides by.

    Attributes:
        divisor: One number for each row.
        follow: Whether rows follow each other in memory.
        least: The smallest of the numbers.
    """

    divisor: Tensor
    follow: bool
    least: float


class Drowned(NamedTuple):
    """A code of what a division reads.

    Attributes:
        save: The save of it.
        behind: Where it lies.
        slot: Its slot.
    """

    save: Save
    behind: Behind
    slot: str


def rows_of(node: Node) -> Rows | None:
    """What a node divides by; None if it is not at hand.

    Args:
        node: A node that divides.
    """
    value = _told_by(node)
    if value is None:
        return None
    value, size = divisor(node, value)
    value = _each_once(value).abs().float()
    shape = (1,) * (len(size) - value.dim()) + tuple(value.shape)
    rows = 0
    while rows < len(shape) and rows < len(size) and shape[rows] == size[rows]:
        rows += 1
    # Those of a group norm have fewer dimensions than what it divides.
    follow = all(extent == 1 for extent in shape[rows:]) or "GroupNorm" in node.name()
    return Rows(value, follow, float(value.amin()))


def least_of(node: Node) -> float:
    """The smallest number that a node divides by; infinite if it is not at hand, or there are too many.

    Args:
        node: A node that divides.
    """
    value = _told_by(node)
    if value is None:
        return math.inf
    value = _each_once(value)
    if value.numel() > _MANY:
        return math.inf
    if not is_reciprocal(node):
        return float(value.abs().amin())
    most = float(value.abs().amax())
    return 1 / most if most else math.inf


def _told_by(node: Node) -> Tensor | None:
    value = saved_in(node, divisor_slot(node))
    if value is None or not is_at_hand(value) or not value.numel() or not value.is_floating_point():
        return None
    return value.detach()


def _each_once(value: Tensor) -> Tensor:
    """What was expanded, without its copies."""
    for dim, (extent, stride) in enumerate(zip(value.shape, value.stride(), strict=True)):
        if stride == 0 and extent > 1:
            value = value.narrow(dim, 0, 1)
    return value


def coded_behind(node: Node) -> Iterator[Drowned]:
    """The codes of what multiplies the gradient behind the divisor of a node, and that of what it divides.

    Args:
        node: A node that divides.
    """
    itself = [Behind(node, Size(), ())] if node.name() == "DivBackward0" else []
    for behind in (*itself, *behind_divisor(node)):
        for held, slot in held_by(behind.node):
            if type(held) is not Save or held.site is None or type(held.result) is not Packed:
                continue
            if behind.node.name() not in ROWS or are_narrow_rows(behind.node, slot, held):
                yield Drowned(held, behind, slot)


def are_narrow_rows(node: Node, slot: str, save: Save) -> bool:
    """Whether a save is what the rows of a product of matrices are made of, too narrow for scales of their own."""
    return ROWS.get(node.name()) == slot and bool(save.layout.size) and save.layout.size[-1] < LEAST_ROW


@torch.no_grad()
def is_drowned(found: Drowned, rows: Rows, exact: Tensor | None) -> bool:
    """Whether of what is left of rows more is rounding than codes of ordinary rows have.

    Args:
        found: A code.
        rows: What is divided by.
        exact: What it is the code of; None if that is gone.
    """
    node, size, factors = found.behind
    packed, slot = found.save.result, found.slot
    rows_of_matrix = node.name() in ROWS
    other = "" if rows_of_matrix else beside(node, slot)
    if type(packed) is not Packed or other is None or packed.held.bits > WIDEST:
        return False
    some = _some(packed.layout.size, rows)
    error = _error(found, packed, exact, some)
    if error is None:
        return False
    if node.name() == "DivBackward0":
        return exact is not None and _is_row_lost(error, exact, rows, some, packed.held.bits)
    if rows_of_matrix:
        error = _through_matrix(error, node)
    if other:
        error = _times(error, exact if other == slot and exact is not None else saved_in(node, other), some)
    for factor in factors:
        error = _times(error, _value(factor), some)
    return not _share(error, rows, size, some) * float((1 << packed.held.bits) - 1) ** 2 <= _MOST


class Some(NamedTuple):
    """Slices of a large tensor along its first dimension.

    Attributes:
        places: Which.
        of: How many there are.
        weights: How many slices each stands for.
    """

    places: Tensor
    of: int
    weights: Tensor

    def take(self, tensor: Tensor) -> Tensor:
        """The slices of a tensor that has them."""
        return tensor[self.places] if tensor.dim() and tensor.shape[0] == self.of else tensor


def _some(size: torch.Size, rows: Rows) -> Some | None:
    """Slices of a large tensor, the half of them those that are divided by least; None for all."""
    divisor, numel = rows.divisor, size.numel()
    if numel <= _LARGE or divisor.dim() != len(size) or divisor.shape[0] != size[0]:
        return None
    several = max(_LARGE * size[0] // numel // 2, 1)
    if 4 * several > size[0]:
        return None
    order = divisor.flatten(1).amin(1).argsort() if divisor.dim() > 1 else divisor.argsort()
    least, others = order[:several], order[several:]
    others = others.sort().values[:: -(-others.numel() // several)]
    weights = divisor.new_ones(several + others.numel())
    weights[several:] = (size[0] - several) / others.numel()
    return Some(torch.cat((least, others)), size[0], weights)


def _error(found: Drowned, packed: Packed, exact: Tensor | None, some: Some | None) -> Tensor | None:
    """The squared error of the slope that a node reads of its code; None if it cannot be told."""
    held, layout, node, slot = packed.held, packed.layout, found.behind.node, found.slot
    take = some.take if some is not None else lambda tensor: tensor
    value = decoded(packed) if exact is None else exact.detach()
    if value is None or not value.is_floating_point() or not is_at_hand(value):
        return None
    value = take(value).float()
    code = getattr(held, "code", None)
    code = code.loaded() if isinstance(code, Groups) else None
    steps = None if code is None else steps_of(code, layout)
    if code is not None and steps is not None:
        of_slopes = isinstance(getattr(code, "transform", None), Slope)
        read = slope(node, slot, value) if of_slopes else value
        off = deviations(take(steps), None if exact is None else read)
        if of_slopes:
            return off.square_()
        rounded: Tensor | None = value + off
    elif exact is not None:
        rounded = decoded(packed)
        rounded = None if rounded is None else take(rounded).float()
    elif code is not None:
        again = code.decode_rounded(layout.dense, layout.region_stride, code.bits, code.seed + 1)
        rounded = take(layout.restore(again)).float()
    else:
        return None
    return None if rounded is None else (slope(node, slot, rounded) - slope(node, slot, value)).square_()


def _value(factor: Factor) -> Tensor | None:
    value = saved_in(factor.node, factor.slot)
    if value is None:
        return None
    if value.dtype == torch.bool:
        return value.logical_not() if factor.negated else value
    return value if factor.power == 1 else value.float().pow(factor.power).mul_(factor.times)


def _through_matrix(error: Tensor, node: Node) -> Tensor:
    """What a product of matrices makes of the squared error of rows."""
    matrix = matrix_of(node)
    matrix = saved_in(node, "mat2") if matrix is None else matrix
    if matrix is None or not matrix.numel() or not is_at_hand(matrix):
        return error
    mean = matrix.detach().float().square().mean()
    return error * (mean * (matrix.numel() / (max(error.shape[-1], 1) * max(math.prod(matrix.shape[:-2]), 1))))


def _is_row_lost(error: Tensor, exact: Tensor, rows: Rows, some: Some | None, bits: int) -> bool:
    """Whether of rows that are divided more is rounding, however large they are, than ordinary rows have."""
    exact = exact.detach() if some is None else some.take(exact.detach())
    over = [dim for dim, extent in enumerate(rows.divisor.shape) if extent == 1]
    if exact.dim() != rows.divisor.dim() or not over:
        return False
    size = exact.float().square().sum(over)
    shares = (error.sum(over) / size)[size > 0]
    return bool(shares.numel()) and not float(shares.mean()) * float((1 << bits) - 1) ** 2 <= _MOST


def _times(error: Tensor, factor: Tensor | None, some: Some | None) -> Tensor:
    """A squared error times the square of a factor: element by element where that fits, else the greatest."""
    if factor is None or not factor.numel():
        return error
    factor = factor.detach()
    if some is not None and factor.dim() == error.dim():
        factor = some.take(factor)
    squares = factor.float().square()
    if squares.dim() and squares.shape[:-1] == error.shape[:-1] and squares.shape != error.shape:
        squares = squares.amax(-1, keepdim=True)
    try:
        fits = torch.broadcast_shapes(error.shape, squares.shape) == error.shape
    except RuntimeError:
        fits = False
    return error * (squares if fits else squares.amax())


def _share(error: Tensor, rows: Rows, size: Size, some: Some | None) -> float:
    """The mean over rows of a squared error against what is left of the row."""
    left = (size.times * rows.divisor.pow(size.power)).square_()
    count = left.numel()
    if some is not None:
        left = some.take(left) / some.weights.view(-1, *(1 for _ in left.shape[1:]))
    shape = (1,) * (error.dim() - left.dim()) + tuple(left.shape)
    if error.dim() == len(shape) and all(b in (1, a) or a == 1 for a, b in zip(error.shape, shape, strict=True)):
        parts = error / left.view(shape)
        parts.masked_fill_((error == 0).expand_as(parts), 0)
        return float(parts.sum()) / count
    if rows.follow and error.numel() % count == 0:
        sums = error.reshape(count, -1).sum(1)
        parts = sums / left.reshape(-1)
        return float(parts.masked_fill_(sums == 0, 0).mean())
    return float(error.sum()) / count * float(left.reciprocal().mean())

"""Numbers of many magnitudes, whose small ones a common step would drown."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import is_at_hand
from ..codecs.transforms import LEAST_ROW
from .need import VALUE, Need, exact

_SPAN = 1024.0
_NARROW_SPAN = 2048.0
"""Greatest over the tenth least of ordinary numbers: 33 of normal ones, 150 of exponential ones."""
_SAMPLE = 512
_MANY_MAGNITUDES = exact("values of many magnitudes")
_MANY_SIZES = exact("rows of many magnitudes")
_UNEVEN = 64.0
"""Mean over rows of the square of the greatest number over that of a row: of eight normal ones it is 20."""


def of_one_magnitude(node: Node | None, tensor: Tensor) -> Need:
    """A value that is read linearly; exact where its numbers are of many magnitudes. On a CPU they are looked at.

    So are samples of distributions near zero that are divided, and exponentials: a function that comes before or after
    is steep for the small ones, which would get the step of the large ones.
    """
    if not is_at_hand(tensor) or not tensor.numel():
        return VALUE
    sizes = tensor.abs()
    most = sizes.amax()
    least = sizes.masked_fill_(sizes == 0, torch.inf).amin()
    # The least of n ordinary numbers is about the nth part of the greatest.
    return _MANY_MAGNITUDES if bool(least * (_SPAN * tensor.numel()) < most) else VALUE


def of_few_columns(tensor: Tensor) -> Need:
    """A factor; exact where it has few columns and its rows are of many magnitudes. On a CPU they are looked at.

    Such rows share groups, and what they are multiplied with, or what is divided by the product, may make small ones
    count as much as large ones. Wider rows have scales of their own.
    """
    if tensor.dim() < 2 or tensor.shape[-1] >= LEAST_ROW or not is_at_hand(tensor):
        return VALUE
    if not tensor.numel():
        return VALUE
    sizes = tensor.abs()
    some = sizes.flatten()[:: max(tensor.numel() // _SAMPLE, 1)].float()
    some = some[some > 0]
    if not some.numel():
        return VALUE
    low = some.kthvalue(max(some.numel() // 10, 1)).values
    return _MANY_MAGNITUDES if bool(low * _NARROW_SPAN < sizes.amax()) else VALUE


def of_even_rows(tensor: Tensor) -> Need:
    """A factor whose rows are all divided by their size after the product; exact unless they are of one magnitude.

    Narrow rows share groups, and each of them counts as much as any other. Wider ones have scales of their own.
    """
    if not is_at_hand(tensor):
        return _MANY_SIZES
    # Rows as they lie in memory.
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    tensor = tensor.permute(order)
    if not tensor.numel() or tensor.dim() < 2 or tensor.shape[-1] >= LEAST_ROW:
        return VALUE
    rows = tensor.float().square().mean(-1)
    rows = rows[rows > 0]
    most = float(tensor.abs().amax()) ** 2
    return VALUE if not rows.numel() or most * float(rows.reciprocal().mean()) <= _UNEVEN else _MANY_SIZES

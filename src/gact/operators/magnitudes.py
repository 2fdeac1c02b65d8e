"""Numbers of many magnitudes, whose small ones a common step would drown."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import FakeTensor
from .need import VALUE, Need, exact

_SPAN = 1024.0
_MANY_MAGNITUDES = exact("values of many magnitudes")


def of_one_magnitude(node: Node, tensor: Tensor) -> Need:
    """A value that is read linearly; exact where its numbers are of many magnitudes. On a CPU they are looked at.

    So are samples of distributions near zero that are divided, and exponentials: a function that comes before or after
    is steep for the small ones, which would get the step of the large ones.
    """
    if not tensor.is_cpu or type(tensor) is FakeTensor or not tensor.numel():
        return VALUE
    sizes = tensor.abs()
    most = sizes.amax()
    least = sizes.masked_fill_(sizes == 0, torch.inf).amin()
    # The least of n ordinary numbers is about the nth part of the greatest.
    return _MANY_MAGNITUDES if bool(least * (_SPAN * tensor.numel()) < most) else VALUE

"""Functions whose slope turns within a few units, and whose arguments may lie much farther apart than that."""

from __future__ import annotations

import torch
from torch import Tensor

from ..autograd.internals import FakeTensor
from ..codecs.chunks import flat_of
from .need import Need, exact

_WINDOW = 256
_MOST = 32.0
"""Range, as a root of the mean of squares over windows, of which 8 bits make steps of an eighth."""
_FAR = exact("turns within its rounding")


def of_turning(tensor: Tensor, needed: Need, wider: Need | None = None) -> Need:
    """What is needed of the argument of such a function; what it turns in must not be less than a step.

    On a CPU ranges are looked at; elsewhere that would wait.

    Args:
        tensor: The argument.
        needed: What is needed of one whose range is ordinary.
        wider: What is needed of one up to ``_MOST``, if that is not the same; ordinary is then a third of that.
    """
    if not tensor.is_cpu or type(tensor) is FakeTensor or not tensor.numel():
        return needed
    flat = flat_of(tensor.detach())
    whole = flat.numel() // _WINDOW
    windows = flat[: whole * _WINDOW].view(whole, _WINDOW) if whole else flat[None]
    ranges = (windows.amax(1) - windows.amin(1)).float()
    reach = float(torch.linalg.vector_norm(ranges)) / len(ranges) ** 0.5
    if wider is None:
        return needed if reach <= _MOST else _FAR
    return needed if reach <= _MOST / 3 else wider if reach <= _MOST else _FAR

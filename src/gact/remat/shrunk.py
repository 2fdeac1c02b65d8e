"""Results that lie in a far smaller range than what they are made of.

NOTE: Why
The step of a code is in proportion to the range of what it holds. A difference of two tensors that are nearly the same,
a ReLU of scores of which some are -1e4, a sigmoid of fifty times its argument lie in a range that is small beside the
step that their sources have been rounded with. Made again of them they may be little but rounding, so before one of
them is, it is made once to see (``packing/drowned.py``).

So may a product be. A factor that is large where the others of the group are small multiplies the rounding of what it
is multiplied with: a softmax under a mask, of which some rows have next to nothing left, what is multiplied by an
exponential and divided by it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand
from ..saved.held import WIDEST

_DIFFERENCES = frozenset({"add", "sub", "subtract", "__rsub__", "rsub"})
"""Ops that may leave little of two tensors."""
_SLOPES = {
    **dict.fromkeys(["tanh", "hardtanh", "relu6", "relu", "relu_", "leaky_relu"], 1.0),
    **dict.fromkeys(["gelu", "silu", "mish", "elu", "celu", "selu", "softplus", "hardswish"], 1.1),
    "hardsigmoid": 1 / 6,
    "sigmoid": 1 / 4,
}
"""Functions that are flat for large arguments, and how steep they are at most."""
_MOST = 8.0
"""So many times the range of the result may that of a source be, times the slope, without a look."""
_EVEN = 16.0
"""So many times as large as the least may the largest element of an exact factor be without a look."""


def slope_of(name: str, kind: str, count: int) -> float:
    """How steep an op is at most that may shrink a range; 0 for one that cannot, or does so to rounding as well.

    Args:
        name: Its name.
        kind: Of the op, as ``Rebuild`` has it.
        count: How many tensors it is given.
    """
    if kind == "gathered" or (name in _DIFFERENCES and count > 1):
        return 1.0
    return _SLOPES.get(name, 0.0)


def reach(slope: float, sources: Sequence[Tensor], kind: str = "") -> list[float]:
    """Of each source its range times the slope: what an op that had the slope everywhere would make of it.

    The slope of a product is the largest element of the other factor.

    On devices, where looking would wait, and without data nothing is known, and the list is empty.

    Args:
        slope: How steep the op is at most; 0 for one that cannot shrink anything.
        sources: Its sources.
        kind: Of the op, as ``Rebuild`` has it.
    """
    if kind == "product":
        return _reach_of_factors(sources)
    if not slope or not all(map(is_at_hand, sources)):
        return []
    return [slope * _range(each) if each.is_floating_point() else 0.0 for each in sources]


def _reach_of_factors(sources: Sequence[Tensor]) -> list[float]:
    if len(sources) != 2 or not all(is_at_hand(each) and each.is_floating_point() for each in sources):
        return []
    bounds = [[float(bound) for bound in torch.aminmax(each.detach())] for each in sources]
    return [
        (most - least) * max(map(abs, other)) for (least, most), other in zip(bounds, reversed(bounds), strict=True)
    ]


def is_uneven(sources: Sequence[Tensor], held: Sequence[Any]) -> bool:
    """Whether an exact factor of a product has elements of very different sizes, looked at on a CPU.

    Args:
        sources: The factors.
        held: What they are held as, in the same order: the targets of their links.
    """
    if len(sources) != 2:
        return False
    for source, target in zip(sources, held, strict=False):
        if not _is_rounded(target) and is_at_hand(source) and not source.is_complex():
            sizes = source.detach().abs() if source.dtype != torch.bool else source.detach()
            least, most = map(float, torch.aminmax(sizes))
            if not most <= _EVEN * least:
                return True
    return False


def is_shrunk(reached: Sequence[float], held: Sequence[Any], result: Tensor) -> bool:
    """Whether some source that is held rounded has a far larger range than the result.

    Args:
        reached: What ``reach`` has found.
        held: What the sources are held as, in the same order: the targets of their links.
        result: The result.
    """
    ranges = [most for most, target in zip(reached, held, strict=False) if _is_rounded(target)]
    # What is not finite is not held in codes, and where it comes from the comparison fails.
    return bool(ranges) and not max(ranges) <= _MOST * _range(result)


def _is_rounded(target: Any) -> bool:
    if hasattr(target, "resolve"):  # a recipe, of something that is
        return True
    held = target() if callable(target) else target
    return held is None or int(getattr(held, "bits", 32)) <= WIDEST


def _range(values: Tensor) -> float:
    least, most = torch.aminmax(values.detach())
    return float(most) - float(least)

"""Results that lie in a far smaller range than what they are made of.

NOTE: Why
The step of a code is in proportion to the range of what it holds. A difference of two tensors that are nearly the same,
a ReLU of scores of which some are -1e4, a sigmoid of fifty times its argument lie in a range that is small beside the
step that their sources have been rounded with. Made again of them they may be little but rounding, so before one of
them is, it is made once to see (``packing/drowned.py``).

Most of it may be so while some of it is not: where two tensors cancel in all rows but a loud one. So runs of neighbours
are looked at too, as long as most groups of codes.

So may a product be. A factor that is large where the others of the group are small multiplies the rounding of what it
is multiplied with: a softmax under a mask, of which some rows have next to nothing left, what is multiplied by an
exponential and divided by it again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand
from ..codecs.chunks import flat_of
from ..ops.checks import is_dense
from ..ops.looks import extremes_of_runs
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
_MOST_OF_RUN = 64.0
"""So many times that of a run, whose codes are coarser than its own range."""
_MOST_OF_FACTORS = 3.0
"""So many times the size of a run of a product may those of its factors be: once, where they are independent."""
_EVEN = 16.0
"""So many times as large as the least may the largest element of an exact factor be without a look."""
_RUN = 256
"""Elements of a run."""


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


class Look(NamedTuple):
    """What was seen of a tensor: two figures of all, and of each run of its memory.

    Attributes:
        first: The least element; of products and their factors the mean square.
        second: The greatest element.
        firsts: The least element of each run, or the root of its mean square; None of what is small, or has gaps.
        seconds: The greatest element of each run.
        order: Size and stride, which tell in which order runs follow each other.
    """

    first: float
    second: float
    firsts: Tensor | None = None
    seconds: Tensor | None = None
    order: tuple[int, ...] = ()


class Shrunk(NamedTuple):
    """Whether rounding may have drowned a result.

    Attributes:
        doubtful: Whether it may.
        uneven: Whether it may have drowned a part of it.
    """

    doubtful: bool
    uneven: bool


NEITHER = Shrunk(doubtful=False, uneven=False)


def look_at(tensor: Tensor, kind: str) -> Look | None:
    """Looks once at a source or a result; None where that would wait, without data, and of complex numbers.

    Args:
        tensor: The tensor.
        kind: Of the op, as ``Rebuild`` has it.
    """
    if not is_at_hand(tensor) or tensor.is_complex() or not tensor.numel():
        return None
    tensor = tensor.detach()
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    runs, rest = _runs_of(tensor)
    order = () if runs is None else (*tensor.size(), *tensor.stride())
    if kind == "product":
        parts = [_root_mean_square(each, dtype) for each in (runs, rest) if each is not None]
        roots = torch.cat(parts) if len(parts) > 1 else parts[0]
        return Look(float(roots.square().mean()), 1.0, roots if order else None, None, order)
    parts = [extremes_of_runs(each).to(dtype) for each in (runs, rest) if each is not None]
    low, high = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
    return Look(float(low.amin()), float(high.amax()), low if order else None, high if order else None, order)


def _runs_of(tensor: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The runs of a tensor as rows, and what is left over as one."""
    if tensor.numel() <= _RUN or not is_dense(tensor.size(), tensor.stride()):
        return None, tensor.reshape(1, -1)
    flat = flat_of(tensor)
    whole = flat.numel() // _RUN * _RUN
    return flat[:whole].view(-1, _RUN), flat[whole:][None] if whole < flat.numel() else None


def _root_mean_square(rows: Tensor, dtype: torch.dtype) -> Tensor:
    rows = rows if rows.is_floating_point() else rows.to(dtype)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=dtype if rows.dtype == torch.float16 else None)
    return norms.to(dtype).mul_(rows.shape[1] ** -0.5)


def shrunk(slope: float, kind: str, sources: Sequence[Look | None], held: Sequence[Any], result: Look | None) -> Shrunk:
    """Whether some source that is held rounded has a far larger range than the result, all over or in some runs.

    Where it is not known, as on devices, nothing is said.

    Args:
        slope: How steep the op is at most; 0 for one that cannot shrink anything.
        kind: Of the op, as ``Rebuild`` has it.
        sources: What was seen of its sources.
        held: What those are held as, in the same order: the targets of their links.
        result: What was seen of it.
    """
    known = [source for source, target in zip(sources, held, strict=False) if source is not None and is_rounded(target)]
    if result is None or not known:
        return NEITHER
    if kind == "product":
        found = len(sources) == 2 and _is_product_small(sources[0], sources[1], result)
        return Shrunk(found, found)
    # What is not finite is not held in codes, and where it comes from the comparison fails.
    reached, most = max(each.second - each.first for each in known) * slope, _MOST * (result.second - result.first)
    if not reached <= most:
        return Shrunk(doubtful=True, uneven=False)
    found = any(_is_run_small(each, slope, result, bends=kind in ("curve", "kink")) for each in known)
    return Shrunk(found, found)


def _is_product_small(one: Look | None, other: Look | None, result: Look) -> bool:
    """Whether a product is far smaller somewhere than its factors, which are large where the other is small."""
    if one is None or other is None:
        return False
    factors = [
        each.firsts if each.firsts is not None and each.order == result.order else math.sqrt(each.first)
        for each in (one, other)
    ]
    roots = math.sqrt(result.first) if result.firsts is None else result.firsts
    return not bool(torch.as_tensor(factors[0] * factors[1] <= _MOST_OF_FACTORS * roots).all())


def _is_run_small(source: Look, slope: float, result: Look, bends: bool) -> bool:
    """Whether what a source brings is far larger than the result in some run.

    A function that is flat for what is large shrinks rounding as well. So its runs are held against most others too.
    """
    lows, highs = source.firsts, source.seconds
    if source.order != result.order or lows is None or highs is None:
        return False
    assert result.firsts is not None
    assert result.seconds is not None
    ranges = result.seconds - result.firsts
    if bends:
        ranges = ranges.clamp_(min=float(ranges.median()))
    return not bool(((highs - lows).mul_(slope) <= ranges.mul_(_MOST_OF_RUN)).all())


def is_uneven(factor: Tensor) -> bool:
    """Whether an exact factor of a product has elements of very different sizes, looked at on a CPU.

    Args:
        factor: The factor.
    """
    if not is_at_hand(factor) or factor.is_complex() or not factor.numel():
        return False
    factor = factor.detach()
    if factor.dtype == torch.bool:
        return not bool(factor.all())
    low, high = float(factor.amin()), float(factor.amax())
    if low < 0 < high:
        least, most = map(float, torch.aminmax(factor.abs()))
    else:
        least, most = sorted((abs(low), abs(high)))
    return not most <= _EVEN * least


def is_rounded(target: Any) -> bool:
    """Whether what a source is held as is not exact.

    Args:
        target: The target of its link.
    """
    if hasattr(target, "resolve"):  # a recipe, of something that is
        return True
    held = target() if callable(target) else target
    return held is None or int(getattr(held, "bits", 32)) <= WIDEST

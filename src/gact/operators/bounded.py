"""Which side of a bound holds at the bound itself: torch is asked.

NOTE: Why torch is asked
At the bound clamp passes the gradient and ReLU does not; releases differ (clamp of 2.14 from that of 2.13), and so do
the dtypes in which a bound is compared: 0.1 is below the bfloat16 next to it, or equal to it if it is rounded first. So
each op runs once on numbers around a few bounds, and of all rules (compared in which dtype, with the bound or without)
the one is taken that explains every answer. If none does, what the op saves stays exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from ..autograd.internals import DisableTorchDispatch, DisableTorchFunction
from .floats import next_above, next_below, rounded

Call = Callable[[Tensor, float, float], Tensor]
# In each of float32, bfloat16 and float16, one bound of each side is rounded up and one down.
_BOUNDS = ((0.1, 0.7), (-0.1, 0.1), (0.0, 2.0))
_REPEATED = 33  # so that both the vectorised and the last elements of a kernel are asked


@dataclass(frozen=True, slots=True)
class Bounded:
    """An op whose backward reads on which side of its bounds a number lies.

    Attributes:
        call: The op, of a tensor and its bounds.
        bounds: Pairs to try.
        low: Whether it has a bound below.
        high: Whether it has a bound above.
    """

    call: Call
    bounds: tuple[tuple[float, float], ...] = _BOUNDS
    low: bool = True
    high: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """When a number counts as inside of a bound.

    Attributes:
        dtype: In which dtype the bound is compared.
        inclusive: Whether the bound itself is inside.
    """

    dtype: torch.dtype
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of an op's two bounds; None for a bound that it has not."""

    low: Rule | None
    high: Rule | None


_ZERO = ((0.0, math.inf),)
_POSITIVE = tuple((-high, high) for high in (1.0, 0.1, 0.7))
OPS = {
    "relu": Bounded(lambda x, low, high: F.relu(x), _ZERO, high=False),
    "leaky_relu": Bounded(lambda x, low, high: F.leaky_relu(x, 0.25), _ZERO, high=False),
    "rrelu": Bounded(lambda x, low, high: F.rrelu(x, 0.25, 0.25), _ZERO, high=False),
    "prelu": Bounded(lambda x, low, high: F.prelu(x, x.new_full((1,), 0.25)), _ZERO, high=False),
    "threshold": Bounded(lambda x, low, high: F.threshold(x, low, 5.0), high=False),
    "hardtanh": Bounded(F.hardtanh),
    "hardsigmoid": Bounded(lambda x, low, high: F.hardsigmoid(x), ((-3.0, 3.0),)),
    "hardshrink": Bounded(lambda x, low, high: F.hardshrink(x, high), _POSITIVE),
    "softshrink": Bounded(lambda x, low, high: F.softshrink(x, high), _POSITIVE),
    "clamp": Bounded(torch.clamp),
    "clamp_low": Bounded(lambda x, low, high: torch.clamp(x, min=low), high=False),
    "clamp_high": Bounded(lambda x, low, high: torch.clamp(x, max=high), low=False),
    "clamp_min": Bounded(lambda x, low, high: torch.clamp_min(x, low), high=False),
    "clamp_max": Bounded(lambda x, low, high: torch.clamp_max(x, high), low=False),
}


def rules_of(op: str, device: str, dtype: torch.dtype) -> Rules | None:
    """The rules that explain what an op's backward does at bounds, or None.

    Args:
        op: A name in ``OPS``.
        device: A device type.
        dtype: The dtype of what is compared.
    """
    bounded = OPS[op]
    try:
        with _plain():
            answers = [_ask(bounded, low, high, device, dtype) for low, high in bounded.bounds]
    except (RuntimeError, NotImplementedError):  # an op that this device has not for this dtype
        return None
    low = [(bound, points[0]) for (bound, _), points in zip(bounded.bounds, answers, strict=True)]
    high = [(-bound, points[1]) for (_, bound), points in zip(bounded.bounds, answers, strict=True)]
    found = (_explain(low, dtype) if bounded.low else None, _explain(high, dtype) if bounded.high else None)
    if (bounded.low and found[0] is None) or (bounded.high and found[1] is None):
        return None
    return Rules(*found)


def sloped_at_bounds(device: str, dtype: torch.dtype) -> tuple[bool, bool] | None:
    """Whether hardswish has at -3 and at 3 the slope of between them; None if that cannot be told.

    Args:
        device: A device type.
        dtype: The dtype of what is compared.
    """
    try:
        with _plain():
            x = torch.tensor([-3.0, 3.0] * _REPEATED, dtype=dtype, device=device).requires_grad_()
            slopes = torch.autograd.grad((F.hardswish(x) * 1).sum(), x)[0].tolist()
    except (RuntimeError, NotImplementedError):
        return None
    low, high = slopes[:2]
    if slopes != [low, high] * _REPEATED or low not in (-0.5, 0.0) or high not in (1.0, 1.5):
        return None
    return low == -0.5, high == 1.5


def known_devices() -> list[str]:
    """The device types whose kernels can be asked without starting a device."""
    accelerators = [name for name in ("cuda", "xpu") if getattr(torch, name).is_initialized()]
    return ["cpu", *accelerators]


def _ask(
    bounded: Bounded, low: float, high: float, device: str, dtype: torch.dtype
) -> tuple[list[tuple[float, bool]], list[tuple[float, bool]]]:
    """Numbers around each bound and whether they are inside; those around the upper one with their signs turned."""
    inner = low + 1 if bounded.low else high - 1
    middle = low / 2 + high / 2 if bounded.low and bounded.high else inner
    sides = [_around(bound, dtype) if math.isfinite(bound) else [] for bound in (low, high)]
    points = [middle, *sides[0], *sides[1]]
    x = torch.tensor(points * _REPEATED, dtype=dtype, device=device).requires_grad_()
    # The product makes a dense gradient of the sum's, as kernels usually see it.
    gradients = torch.autograd.grad((bounded.call(x, low, high) * 1).sum(), x)[0].tolist()
    if gradients != gradients[: len(points)] * _REPEATED:
        raise RuntimeError("the elements of one tensor are compared in different ways")
    inside = [gradient == gradients[0] for gradient in gradients[1 : len(points)]]
    half = len(sides[0])
    below = list(zip(sides[0], inside[:half], strict=True))
    return below, [(-x, is_in) for x, is_in in zip(sides[1], inside[half:], strict=True)]


def _around(bound: float, dtype: torch.dtype) -> list[float]:
    at = rounded(bound, dtype)
    if at == 0:  # the numbers next to it may be flushed to zero
        return [-torch.finfo(dtype).smallest_normal, at, torch.finfo(dtype).smallest_normal]
    return [next_below(at, dtype), at, next_above(at, dtype)]


def _explain(answers: list[tuple[float, list[tuple[float, bool]]]], dtype: torch.dtype) -> Rule | None:
    """The first rule of a bound below that gives every answer."""
    for compared, inclusive in product(dict.fromkeys((dtype, torch.float32, torch.float64)), (False, True)):
        if all(
            (x > rounded(bound, compared) or (inclusive and x == rounded(bound, compared))) == is_in
            for bound, points in answers
            for x, is_in in points
        ):
            return Rule(compared, inclusive)
    return None


@contextmanager
def _plain() -> Iterator[None]:
    """Runs torch without anybody's modes and hooks."""
    with (
        DisableTorchFunction(),
        DisableTorchDispatch(),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(_same, _same),
    ):
        yield


def _same(tensor: Tensor) -> Tensor:
    return tensor

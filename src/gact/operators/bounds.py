"""Masks of ops that compare with bounds, from the numbers on their nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..codecs.clamped import Bounds
from ..codecs.masks import MaskTest
from .bounded import OPS, Rule, Rules, known_devices, rules_of, sloped_at_bounds
from .floats import DTYPES, greatest_below, next_above, next_below, rounded
from .need import Chooser, Need, exact

_EXACT = exact("compared with bounds")
_RULES: dict[tuple[str, str, torch.dtype], Rules | None] = {}
_SLOPED: dict[tuple[str, torch.dtype], tuple[bool, bool] | None] = {}
_PREPARED: set[str] = set()


def prepare() -> None:
    """Asks torch, once per device, which side of a bound holds at the bound.

    To be called before saved-tensor hooks are on. What a device saves that was not asked stays exact.
    """
    for device in known_devices():
        if device not in _PREPARED:
            _PREPARED.add(device)
            for op in OPS:
                for dtype in DTYPES:
                    _RULES[op, device, dtype] = rules_of(op, device, dtype)
            for dtype in DTYPES:
                _SLOPED[device, dtype] = sloped_at_bounds(device, dtype)
            mask_of.cache_clear()


def bounded(op: str, low: Any = None, high: Any = None) -> Chooser:
    """Chooses the mask of a slot that is compared with bounds.

    Args:
        op: The name in ``bounded.OPS`` whose rules hold.
        low: The bound below: a number, or what reads it from the node. None for no bound.
        high: The bound above, likewise.
    """

    def constant(node: Node, tensor: Tensor) -> Need:
        return mask_of(op, _device(tensor), tensor.dtype, low, high)

    def choose(node: Node, tensor: Tensor) -> Need:
        lower = low(node) if callable(low) else low
        upper = high(node) if callable(high) else high
        if not (_is_number(lower) and _is_number(upper)):
            return _EXACT
        return mask_of(op, _device(tensor), tensor.dtype, lower, upper)

    return choose if callable(low) or callable(high) else constant


def saved(name: str, negative: bool = False) -> Callable[[Node], Any]:
    """Reads a number from a node.

    Args:
        name: Its name in the formula.
        negative: Whether to change its sign.
    """
    attribute = f"_saved_{name}"

    def read(node: Node) -> Any:
        value = getattr(node, attribute, math.nan)
        return -value if negative and _is_number(value) and value is not None else value

    return read


def clamped(node: Node, tensor: Tensor) -> Need:
    """The mask of clamp, whose bounds may both be numbers, or one, or none."""
    low, high = getattr(node, "_saved_min", math.nan), getattr(node, "_saved_max", math.nan)
    if not (_is_number(low) and _is_number(high)):
        return _EXACT
    op = "clamp_high" if low is None else "clamp_low" if high is None else "clamp"
    return mask_of(op, _device(tensor), tensor.dtype, low, high)


def between(op: str, tensor: Tensor) -> Bounds | None:
    """The bounds between which backward reads a value, and beyond which a side; None where nothing is known.

    Args:
        op: ``"hardswish"`` or ``"prelu"``.
        tensor: What was saved.
    """
    if op == "hardswish":
        sloped = _SLOPED.get((_device(tensor), tensor.dtype))
        return None if sloped is None else Bounds(-3.0, 3.0, *sloped)
    rules = _RULES.get((op, _device(tensor), tensor.dtype))
    if rules is None or rules.low is None:
        return None
    return Bounds(-math.inf, 0.0, False, not rules.low.inclusive)


def _device(tensor: Tensor) -> str:
    return "cpu" if tensor.is_cpu else tensor.device.type  # the latter takes ten times as long


def _is_number(bound: Any) -> bool:
    """Whether a bound is a number or missing; a tensor, a complex number or a symbolic one is not."""
    return bound is None or type(bound) in (int, float, bool)


@lru_cache(maxsize=1024)
def mask_of(op: str, device: str, dtype: torch.dtype, low: float | None, high: float | None) -> Need:
    """The mask of an op with these bounds, or exact where nothing is known.

    Args:
        op: The name in ``bounded.OPS``.
        device: The device type of what is compared.
        dtype: Its dtype.
        low: Bound below, or None.
        high: Bound above, or None.
    """
    rules = _RULES.get((op, device, dtype))
    low, high = _finite(low), _finite(high)
    if rules is None or (low is None and high is None) or low != low or high != high:
        return _EXACT
    if low is not None and high is not None and not low < high:
        return _EXACT
    if (low is not None and rules.low is None) or (high is not None and rules.high is None):
        return _EXACT
    # The numbers of the dtype next to the bounds that are outside: the test's bounds are exclusive.
    below = -math.inf if low is None else _outside(low, rules.low, dtype)
    above = math.inf if high is None else -_outside(-high, rules.high, dtype)
    inside = _inside(below, above, dtype)
    if inside is None:
        return _EXACT
    if low is not None:
        outside = below if below == low else below - max(1.0, abs(below))
    else:
        outside = above if above == high else above + max(1.0, abs(above))
    return Need("mask", mask=MaskTest(below, above, outside, inside))


def _finite(bound: float | None) -> float | None:
    return None if bound is None or math.isinf(bound) else float(bound)


def _outside(bound: float, rule: Rule | None, dtype: torch.dtype) -> float:
    """The greatest number of a dtype that is not inside of a bound below."""
    assert rule is not None
    return greatest_below(rounded(bound, rule.dtype), dtype, or_at=not rule.inclusive)


def _inside(below: float, above: float, dtype: torch.dtype) -> float | None:
    """A number of a dtype between two others, neither next to them nor tiny where that can be."""
    if math.isfinite(below) and math.isfinite(above):
        middle = rounded(below / 2 + above / 2, dtype)
    elif math.isfinite(below):
        middle = rounded(below + max(1.0, abs(below)), dtype)
    else:
        middle = rounded(above - max(1.0, abs(above)), dtype) if math.isfinite(above) else 0.0
    for candidate in (middle, next_above(below, dtype), next_below(above, dtype)):
        if below < candidate < above and math.isfinite(candidate):
            return candidate
    return None

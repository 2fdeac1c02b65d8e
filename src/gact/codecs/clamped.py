"""Values whose reader asks between two bounds for the value and beyond them for the side.

NOTE: Why
The slope of hardswish and the gradient of PReLU's slopes are linear between two bounds and jump there. So what is
quantized is the value clamped to the bounds, which is right on average, and one exact bit tells whether it lay between
them. What lay beyond comes back beyond.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..ops import checks
from .lines import Lines
from .transforms import Forward, Inverse

_encode = torch.ops.gact.encode_mask.default
_decode_into = torch.ops.gact.decode_mask_into.default


class Bounds(NamedTuple):
    """Two bounds, and whether what lies on one counts as between them.

    Attributes:
        low: Bound below; ``-inf`` for none.
        high: Bound above; ``inf`` for none.
        with_low: Whether the bound below itself is between them.
        with_high: Whether the bound above is.
    """

    low: float
    high: float
    with_low: bool
    with_high: bool


class Clamped:
    """Values clamped to bounds, and a bit for each that tells whether it lay between them.

    Args:
        region: A dense region.
        bounds: The bounds.

    Attributes:
        signs: Which elements lay between the bounds, one bit each.
    """

    __slots__ = ("_bounds", "_dtype", "signs")

    name = "clamped"
    rounding = "stochastic"
    parts: tuple[str, ...] = ("signs",)
    line: tuple[int, int] | None = None

    def __init__(self, region: Tensor, bounds: Bounds) -> None:
        self._bounds, self._dtype = bounds, region.dtype
        below, above = bounds.low, bounds.high
        if bounds.with_low and math.isfinite(below):
            below -= _beside(below, region.dtype)
        if bounds.with_high and math.isfinite(above):
            above += _beside(above, region.dtype)
        self.signs: Tensor = _encode(region.detach(), below, above)

    @property
    def nbytes(self) -> int:
        """Bytes of the bits."""
        return int(self.signs.nbytes)

    def lines(self) -> Lines:
        """None: its inverse is no line."""
        return []

    def values(self, dtype: torch.dtype) -> torch.dtype:
        """float64, whose groups have scales so exact that no level lies beyond a bound."""
        return torch.float64

    def forward(self, flat: Tensor) -> Forward:
        """The value clamped to the bounds."""
        low, high = self._bounds[:2]

        def write(start: int, out: Tensor) -> None:
            out.copy_(flat[start : start + out.numel()]).clamp_(low, high)

        return write

    def inverse(self) -> Inverse:
        """The value, kept between the bounds or taken beyond the nearer one."""
        low, high, with_low, with_high = self._bounds
        reach = max(1.0, *(abs(bound) for bound in (low, high) if math.isfinite(bound)))
        least = low if with_low or not math.isfinite(low) else low + _beside(low, self._dtype)
        most = high if with_high or not math.isfinite(high) else high - _beside(high, self._dtype)
        middle = (low + high) / 2 if math.isfinite(low) and math.isfinite(high) else 0.0

        def undo(start: int, values: Tensor) -> None:
            stop = start + values.numel()
            bits = self.signs[checks.code_bytes(start, 1) : checks.code_bytes(stop, 1)]
            between = torch.empty(values.numel(), dtype=torch.bool, device=values.device)
            _decode_into(between, bits, 0.0, 1.0)
            if math.isfinite(low) and math.isfinite(high):
                beyond = torch.where(values > middle, high + reach, low - reach).to(values.dtype)
            else:
                beyond = values.new_full((), high + reach if math.isfinite(high) else low - reach)
            values.copy_(torch.where(between, values.clamp(least, most), beyond))

        return undo


def _beside(bound: float, dtype: torch.dtype) -> float:
    """From a bound to a number beside it that is another one in a dtype."""
    info = torch.finfo(dtype)
    return abs(bound) * info.eps if bound else info.smallest_normal

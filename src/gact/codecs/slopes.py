"""Functions held as their slopes, which are all that backward reads of them.

NOTE: Why
Backward multiplies by the slope: the cosine of a sine's argument, 1 - t^2 of a tanh t, s (1 - s) of a sigmoid s. That
is no linear function of what autograd saves: its rounding would be off on average, and it would be all there is beside
a slope of zero, as of a saturated tanh. So the slope is quantized, and what comes back is the value that has it.
One more bit tells on which side of the extreme the value lies, so that it is no mirror image of itself to whoever
differentiates again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..autograd.internals import FakeTensor
from ..ops import checks
from ..ops.looks import mean_square_slope
from .chunks import at_once, flat_of, spans
from .lines import Lines
from .transforms import Forward, Inverse

_encode = torch.ops.gact.encode_mask.default
_apply = torch.ops.gact.apply_mask_.default


class Function(NamedTuple):
    """A function of what is saved that backward reads, and its inverse; both in place.

    Attributes:
        slope: What backward reads of saved values.
        side: A number that is positive on one side of the extreme and negative on the other.
        value: The saved value of a slope less ``middle``, where the side is positive.
        middle: What a value of the other side is the mirror image about.
        greatest: The greatest slope.
    """

    slope: Callable[[Tensor], Tensor]
    side: Callable[[Tensor], Tensor]
    value: Callable[[Tensor], Tensor]
    middle: float = 0.0
    greatest: float = 1.0


def _tanh_slope(t: Tensor) -> Tensor:
    return t.square_().neg_().add_(1.0)


def _tanh_of(slope: Tensor) -> Tensor:
    return slope.neg_().add_(1.0).clamp_(0.0, 1.0).sqrt_()


def _sigmoid_slope(s: Tensor) -> Tensor:
    return s.sub_(0.5).square_().neg_().add_(0.25)


def _sigmoid_above(slope: Tensor) -> Tensor:
    """The sigmoid less a half, where it is above that."""
    return slope.neg_().add_(0.25).clamp_(0.0, 0.25).sqrt_()


FUNCTIONS = {
    # What a sine has as its argument is an angle of some cosine, above the axis or below it.
    "cosine": Function(Tensor.cos_, Tensor.sin_, lambda slope: slope.clamp_(-1.0, 1.0).acos_()),
    "sine": Function(
        Tensor.sin_, Tensor.cos_, lambda slope: slope.clamp_(-1.0, 1.0).asin_().sub_(math.pi / 2), math.pi / 2
    ),
    "tanh": Function(_tanh_slope, lambda t: t, _tanh_of),
    "sigmoid": Function(_sigmoid_slope, lambda s: s.sub_(0.5), _sigmoid_above, 0.5, 0.25),
}


_SATURATED = 0.3
"""Mean square of the slopes, the greatest being 1, up to which those of zero are many."""
_SAMPLE = 4096


def is_needed(region: Tensor, form: str) -> bool:
    """Whether the values themselves would serve worse.

    Those of a sine and a cosine always would. Others cost a second code where somebody reads the value too, and are
    held as slopes where they are saturated; on devices, where looking would wait, and without data, never.

    Args:
        region: A dense region.
        form: Of ``FUNCTIONS``.
    """
    if type(region) is FakeTensor:
        return False
    if form in ("sine", "cosine"):
        return True
    if not region.is_cpu or not region.numel():
        return False
    function = FUNCTIONS[form]
    step = max(region.numel() // _SAMPLE, 1)
    return mean_square_slope(flat_of(region.detach()), step, function.middle, function.greatest) < _SATURATED


class Slope:
    """The slope of a function, instead of what it is a function of, and a bit for its side.

    Args:
        region: A dense region.
        form: Of ``FUNCTIONS``.

    Attributes:
        signs: On which side of the extreme each element lies, one bit each.
    """

    __slots__ = ("_form", "signs")

    name = "slope"
    rounding = "stochastic"
    parts: tuple[str, ...] = ("signs",)
    line: tuple[int, int] | None = None

    def __init__(self, region: Tensor, form: str) -> None:
        self._form = form
        flat, side = flat_of(region.detach()), FUNCTIONS[form].side
        dtype = self.values(region.dtype)
        found = [
            _encode(side(flat[start:stop].to(dtype, copy=True)), 0.0, torch.inf)
            for start, stop in spans(flat.numel(), at_once(flat))
        ]
        self.signs: Tensor = torch.cat(found) if len(found) > 1 else found[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the signs."""
        return int(self.signs.nbytes)

    def lines(self) -> Lines:
        """None: its inverse is no line."""
        return []

    def values(self, dtype: torch.dtype) -> torch.dtype:
        """float64, whose groups have scales so exact that their highest level is no greater than the greatest slope."""
        return torch.float64

    def forward(self, flat: Tensor) -> Forward:
        """The slope."""
        slope = FUNCTIONS[self._form].slope

        def write(start: int, out: Tensor) -> None:
            slope(out.copy_(flat[start : start + out.numel()]))

        return write

    def inverse(self) -> Inverse:
        """The value that has it."""
        function = FUNCTIONS[self._form]

        def undo(start: int, values: Tensor) -> None:
            function.value(values)
            stop = start + values.numel()
            signs = self.signs[checks.code_bytes(start, 1) : checks.code_bytes(stop, 1)]
            _apply(values, signs, -1.0, 1.0)
            if function.middle:
                values.add_(function.middle)

        return undo

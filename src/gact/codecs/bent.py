"""Arguments of GELU, SiLU and Mish, held on a scale that is as steep as what backward reads of them.

NOTE: Why
Of what lies well below zero, backward reads next to nothing: function and slope are nearly 0 there. But in networks
that were trained many arguments lie there, and set the step of their groups. So what is quantized is

    v = a (x - turn) + b sqrt((x - turn)^2 + width^2),    a = (1 + LEAST) / 2, b = (1 - LEAST) / 2,

a hyperbola whose slope goes from ``LEAST`` far below the turn to 1 far above it, as that of the functions does. Of a
group's levels most are then where the functions are steep. The inverse is a root as well, and exact.

NOTE: What is right on average
v is, and so are the function and its slope as far as they are lines in v, which they are more nearly than in x. What
is left is taken away where the function is made again (``remat/curvature.py``). The argument itself is not right on
average, so no other backward gets it from such a code: where one reads it, the code becomes a plain one
(``saved/straight.py``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..ops import boxsamples
from .lines import Lines
from .transforms import Forward, Inverse, working

LEAST = 0.1
"""Slope far below the turn."""
_TURN, _WIDTH = -1.25, 0.75
"""Where GELU's hyperbola turns, and how sharply: for little noise of function and slope on trained networks, at no more
of what is left on average than plain codes have."""
SCALES = {"gelu": 1.0, "silu": 1.7, "mish": 1.5}
"""How many times as wide as GELU each function is."""
_LOWEST = {"gelu": -8.0, "silu": -20.0, "mish": -20.0}
"""From where on down function and slope are 0 but for what float32 can hardly tell from it. What lies there, as a score
that was masked with -1e4, is held as that, or it alone would set the step of its group."""
_BELOW = (1 - LEAST) / 2
_bend_into = torch.ops.gact.bend_into.default


class Bent:
    """Values under a hyperbola.

    Args:
        function: The function that reads them, one of ``SCALES``.

    Attributes:
        scale: How many times as wide as GELU it is.
    """

    __slots__ = ("_lowest", "_turn", "_width", "scale")

    name = "bent"
    rounding = "dithered"
    parts: tuple[str, ...] = ()
    nbytes = 0
    line: tuple[int, int] | None = None

    def __init__(self, function: str) -> None:
        self.scale = scale = SCALES[function]
        self._turn, self._width = _TURN * scale, _WIDTH * scale
        far = _LOWEST[function] - self._turn
        self._lowest = (1 + LEAST) / 2 * far + _BELOW * math.hypot(far, self._width)

    def lines(self) -> Lines:
        """None: its inverse is no line."""
        return []

    def values(self, dtype: torch.dtype) -> torch.dtype:
        """That in which squares do not overflow."""
        return working(dtype)

    def forward(self, flat: Tensor) -> Forward:
        """The hyperbola, from the lowest value on."""
        square = self._width**2

        def write(start: int, out: Tensor) -> None:
            _bend_into(out, flat[start : start + out.numel()], self._turn, square, _BELOW, 0.0)
            out.clamp_min_(self._lowest)  # NaN stays, and so does what is so far below that its square is infinite

        return write

    def hyperbola(self, reach: float) -> boxsamples.Hyperbola:
        """The same as looks at boxes take it, with slopes over so much of a box to each side."""
        return boxsamples.Hyperbola(self._turn, self._width**2, _BELOW, self._lowest, reach)

    def inverse(self) -> Inverse:
        """The argument."""
        square = self._width**2 * LEAST

        def undo(start: int, values: Tensor) -> None:
            _bend_into(values, values, 0.0, square, -_BELOW / LEAST, self._turn)

        return undo

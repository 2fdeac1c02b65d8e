"""Arguments of sine and cosine, held as what the backward reads of them."""

from __future__ import annotations

import torch
from torch import Tensor

from .lines import Lines
from .transforms import Forward, Inverse


class Periodic:
    """What the backward of a sine or cosine reads of its argument, however large that is: a number from -1 to 1.

    What comes back is not the argument but an angle that has the same cosine, or the same sine.

    Args:
        form: ``"cosine"`` for the argument of a sine, ``"sine"`` for that of a cosine.
    """

    __slots__ = ("_cosine",)

    name = "periodic"
    rounding = "stochastic"
    parts: tuple[str, ...] = ()
    nbytes = 0
    line: tuple[int, int] | None = None

    def __init__(self, form: str) -> None:
        if form not in ("cosine", "sine"):
            raise ValueError(f"form must be 'cosine' or 'sine', got {form!r}.")
        self._cosine = form == "cosine"

    def lines(self) -> Lines:
        """None: its inverse is no line."""
        return []

    def values(self, dtype: torch.dtype) -> torch.dtype:
        """float64, whose groups have exact enough scales for their highest level not to lie above 1."""
        return torch.float64

    def forward(self, flat: Tensor) -> Forward:
        """The cosine, or the sine."""
        function = Tensor.cos_ if self._cosine else Tensor.sin_

        def write(start: int, out: Tensor) -> None:
            function(out.copy_(flat[start : start + out.numel()]))

        return write

    def inverse(self) -> Inverse:
        """An angle that has it."""
        function = Tensor.acos_ if self._cosine else Tensor.asin_

        def undo(start: int, values: Tensor) -> None:
            function(values.clamp_(-1.0, 1.0))

        return undo

"""Exact transformations of a region before its groups are quantized, undone when they are decoded.

NOTE: Why
A group's step is in proportion to its range. Where elements of very different meaning share a group (a row of zeros
beside others, the class that a classifier is sure of beside those it rules out), small ones drown in the step of
large ones, and a backward that divides by their size blows that up. So what is quantized is a cheap function of the
region whose values are alike, or which backward reads linearly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from ..autograd.internals import FakeTensor
from ..ops.looks import rows_differ
from .channels import Channels, in_memory
from .chunks import flat_of
from .lines import Lines

Forward = Callable[[int, Tensor], None]
"""Writes what is quantized of the elements from a number on."""
Inverse = Callable[[int, Tensor], None]
"""Makes elements of the region, from a number on, of what was decoded; in place."""


class Transform(Protocol):
    """What is quantized instead of a region.

    Attributes:
        name: What it is called.
        rounding: ``"dithered"``, or ``"stochastic"`` where what is decoded must not leave its group's range below.
        parts: Names of the attributes that hold tensors of its own.
        nbytes: Bytes that it holds itself.
        line: Channels and neighbours of the line that its inverse is; None if it is none.
    """

    name: str
    rounding: str
    parts: tuple[str, ...]

    @property
    def nbytes(self) -> int:  # noqa: D102
        ...

    @property
    def line(self) -> tuple[int, int] | None:  # noqa: D102
        ...

    def lines(self) -> Lines:
        """The inverse as lines, if it is one."""
        ...

    def values(self, dtype: torch.dtype) -> torch.dtype:
        """Dtype of what is quantized of a region of that dtype."""
        ...

    def forward(self, flat: Tensor) -> Forward:
        """What makes values of the elements of a region, given in memory order."""
        ...

    def inverse(self) -> Inverse:
        """What makes elements of values."""
        ...


def working(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which elements of a dtype are computed with."""
    return torch.float64 if dtype == torch.float64 else torch.float32


LEAST_ROW = 32
"""Elements of a row at least, so that its exponent takes a quarter of a bit each at most."""
FACTOR = 8.0
"""How many times as large as another in its groups a row is for the two to be scaled."""


class RowScaled:
    """Rows times powers of two that bring their largest elements between 0.5 and 1. Rows of zeros stay zeros.

    Args:
        region: A dense region.
        rows: How many rows it has in memory order, all of the same length.
    """

    __slots__ = ("_rows", "exponents")

    name = "rows"
    rounding = "dithered"
    parts: tuple[str, ...] = ("exponents",)

    def __init__(self, region: Tensor, rows: int) -> None:
        table = flat_of(region.detach()).view(rows, -1)
        self._rows = Channels(1, rows, table.shape[1], region.numel())
        largest = torch.maximum(table.amax(1), table.amin(1).neg_())
        self.exponents: Tensor = _exponents(largest.to(working(region.dtype)))

    @property
    def nbytes(self) -> int:
        """Bytes of the exponents."""
        return int(self.exponents.nbytes)

    @property
    def line(self) -> tuple[int, int] | None:
        """One channel for each row, unless factors are float64."""
        return self._rows.line if self.exponents.dtype == torch.int8 else None

    def lines(self) -> Lines:
        """A factor for each row."""
        factors = self._factors()
        return [(torch.stack((factors, torch.zeros_like(factors))), self._rows.inner)]

    def values(self, dtype: torch.dtype) -> torch.dtype:
        """That in which factors do not overflow."""
        return working(dtype)

    def forward(self, flat: Tensor) -> Forward:
        """Multiplies by two to the minus exponent."""
        factors = self._factors(-1)[None]

        def write(start: int, out: Tensor) -> None:
            for piece in self._rows.pieces(start, start + out.numel()):
                target = piece.of(out, start)
                torch.mul(piece.of(flat, 0), piece.figures(factors), out=target)

        return write

    def inverse(self) -> Inverse:
        """Multiplies by two to the exponent."""
        factors = self._factors()[None]

        def undo(start: int, values: Tensor) -> None:
            for piece in self._rows.pieces(start, start + values.numel()):
                piece.of(values, start).mul_(piece.figures(factors))

        return undo

    def _factors(self, sign: int = 1) -> Tensor:
        """Two to the exponent of each row, or to minus that; 0 for rows of zeros."""
        exponents = self.exponents
        of_zeros = exponents == torch.iinfo(exponents.dtype).min
        wide = exponents.to(torch.int32 if exponents.dtype == torch.int8 else torch.int64)
        dtype, bias, shift = _FORMATS[wide.dtype]
        # By its bits: a power from the library need not be exact.
        factors: Tensor = wide.mul_(sign).add_(bias).masked_fill_(of_zeros, 0).bitwise_left_shift_(shift).view(dtype)
        return factors


_FORMATS = {torch.int32: (torch.float32, 127, 23), torch.int64: (torch.float64, 1023, 52)}
"""For the integers that hold the bits of a float: its dtype, the bias of its exponent, the bits behind that."""


def _exponents(largest: Tensor) -> Tensor:
    """What the largest magnitude of each row is divided by, as an exponent of two; the least integer for zero."""
    wide, held = (torch.int64, torch.int16) if largest.dtype == torch.float64 else (torch.int32, torch.int8)
    _, bias, shift = _FORMATS[wide]
    # Both the exponent and its opposite are those of normal numbers.
    most = bias - 1
    exponents = largest.view(wide).bitwise_right_shift(shift).sub_(most).clamp_(-most, most)
    return exponents.masked_fill_(largest == 0, torch.iinfo(held).min).to(held)


@lru_cache(maxsize=1024)
def rows_of(size: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, int]:
    """How many rows a dense tensor has, and how long they are.

    A row is what lies together in memory: the innermost dimension, with those around it while it is shorter than
    ``LEAST_ROW``.
    """
    rows, length = 1, 1
    for dim in reversed(in_memory(size, stride)):
        if length < LEAST_ROW:
            length *= size[dim]
        else:
            rows *= size[dim]
    return rows, length


def needs_rows(region: Tensor, group_size: int) -> bool:
    """Whether rows that share groups are of very different size, so that the smaller ones would drown.

    On devices, where looking would wait, whether any rows share groups at all. False for CPU tensors without data.

    Args:
        region: A dense region.
        group_size: Elements of a group.
    """
    size = region.size()
    if len(size) < 2 or (size[-1] % group_size == 0 and region.is_contiguous()):
        return False  # as most are
    rows, length = rows_of(size, region.stride())
    if rows == 1 or length % group_size == 0:
        return False
    if not region.is_cpu:
        return True
    if type(region) is FakeTensor:
        return False
    # As many neighbours as one group may touch.
    touched = min((group_size - 2) // length + 2, rows)
    return rows_differ(flat_of(region.detach()).view(rows, length), touched, FACTOR)


def row_scaled(region: Tensor, group_size: int) -> RowScaled | None:
    """The transform of a region by rows; None where groups may be quantized as they are."""
    if not needs_rows(region, group_size):
        return None
    return RowScaled(region, rows_of(region.size(), region.stride())[0])

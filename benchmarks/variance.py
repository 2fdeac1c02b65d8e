"""Groups of values and the variance that a code gives them: arithmetic is exact, no codes are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

METADATA_BITS = 32
SIZE = 256


class Sample:
    """Values of one saved tensor as a matrix: its last axis in memory is that of a row.

    Args:
        values: In memory order.
        most: Elements looked at; whole rows, but a part of a row that is longer.

    Attributes:
        matrix: The values.
        flat: The same, row after row.
        by_column: The same values, column after column.
        rows: How many values a column has.
    """

    def __init__(self, values: Tensor, most: int) -> None:
        matrix = values.reshape(-1, values.shape[-1])
        matrix = matrix[: max(1, most // matrix.shape[1]), :most].double()
        self.matrix = matrix
        self.flat = matrix.flatten()
        self.by_column = matrix.t().flatten()
        self.rows = len(matrix)


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of values, the short last one left out.

    Attributes:
        position: Within the group from 0, its minimum, to 1, its maximum: ``[groups, size]``.
        extent: Maximum less minimum, ``[groups, 1]``.
    """

    position: Tensor
    extent: Tensor

    @classmethod
    def of(cls, flat: Tensor, size: int = SIZE) -> Groups:
        """Cut a vector."""
        return cls.between(*rows_and_bounds(flat, size))

    @classmethod
    def between(cls, rows: Tensor, low: Tensor, extent: Tensor) -> Groups:
        """Rows with given bounds."""
        return cls((rows - low) / torch.where(extent > 0, extent, 1.0), extent)

    def mean(self, variance: Tensor) -> float:
        """Mean over all elements of a variance in units of the group's extent."""
        return float((variance.mean(1, keepdim=True) * self.extent.square()).mean())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scheme gives.

    Attributes:
        variance: Mean over the elements.
        bits: Bits per element, metadata included.
    """

    variance: float
    bits: float


Scheme = Callable[[Sample, int], Outcome]


def rows_and_bounds(flat: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Whole groups, the minimum of each, and its maximum less its minimum."""
    rows = flat[: flat.numel() // size * size].view(-1, size)
    low = rows.amin(1, keepdim=True)
    return rows, low, rows.amax(1, keepdim=True) - low


def total(bits: int, size: int = SIZE, more: float = 0.0) -> float:
    """Bits per element of a code with the usual metadata and so many bits more per group."""
    return bits + (METADATA_BITS + more) / size


def stochastic(groups: Groups, bits: int) -> Tensor:
    """Variance of stochastic rounding to evenly spaced levels."""
    levels = 2**bits - 1
    place = groups.position * levels
    place = place - place.floor()
    variance: Tensor = place * (1 - place) / levels**2
    return variance


def dithered(groups: Groups, bits: int, phases: int) -> Tensor:
    """Variance with subtractive dither: encoder and decoder share a random shift of one of ``phases`` parts of a level.

    The decoder's shift contributes that of an even distribution over the phases, (phases^2 - 1) / 12 in parts, and
    what lies between two phases is rounded stochastically.
    """
    levels = 2**bits - 1
    place = groups.position * levels * phases
    place = place - place.floor()
    variance: Tensor = (place * (1 - place) + (phases**2 - 1) / 12) / (levels * phases) ** 2
    return variance

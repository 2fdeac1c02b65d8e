"""What looks at a region have shown of its form, for the next region in its place: training repeats itself.

NOTE: What is looked at only now and then
Whether channels are coded apart, or values held in boxes, goes by how channels lie to each other, which changes as
slowly as weights do. What depends on single rows (whether they are scaled, whether boxes have room for all that is in
them, whether a step is too coarse) is looked at each time. A choice that a region no longer fits is made anew.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand
from ..ops.boxes import Grid

LEAST = 2**16
"""Elements of a region that is looked at: of a smaller one the look would cost far more than its code."""


class Choice:
    """Which form a region of values was given.

    Attributes:
        is_made: Whether anything is known.
        has_columns: Whether channels were found to differ, boxes or not.
        grid: The boxes; None for none.
    """

    __slots__ = ("grid", "has_columns", "is_made")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Has the next look decide."""
        self.is_made, self.has_columns = False, True
        self.grid: Grid | None = None

    def make(self, has_columns: bool, grid: Grid | None) -> None:
        """Notes what was decided.

        Args:
            has_columns: Whether channels differ.
            grid: The boxes.
        """
        self.is_made, self.has_columns, self.grid = True, has_columns, grid


class Kind(NamedTuple):
    """What regions in one place have in common as long as a choice holds.

    Attributes:
        size: Their size.
        stride: Their stride.
        dtype: Their dtype.
        form: What their consumer reads.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str
    form: str


def is_looked_at(region: Tensor) -> bool:
    """Whether a region is large enough for a look, at hand, and of a dtype that boxes and channels are made for.

    Args:
        region: A dense region of a float dtype.
    """
    return region.numel() >= LEAST and region.dtype != torch.float64 and is_at_hand(region)


def kind_of(region: Tensor, form: str) -> Kind | None:
    """The kind of a region; None where none is chosen for, which costs no look either.

    Args:
        region: A dense region.
        form: What its consumer reads.
    """
    if not is_looked_at(region):
        return None
    return Kind(tuple(region.size()), region.stride(), str(region.dtype), form)

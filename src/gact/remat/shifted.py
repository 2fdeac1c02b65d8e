"""Codes whose decoded values are moved by so many deviations of their error."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..codecs.chunks import at_once, flat_of, tiles
from ..codecs.deviations import VARIANCE
from ..codecs.fused import Pass
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..codecs.transformed import Transformed
from ..records import Decision
from ..saved.origins import EXACT

if TYPE_CHECKING:
    from ..saved.encoded import Encoded

_DEVIATION = math.sqrt(VARIANCE)


def deviations_of(metadata: Tensor) -> Tensor:
    """Standard deviation of the error in each group.

    It is known where groups are dithered. Of others it is known that most of their elements lie on levels or near
    them, where it is 0, and so it is taken as 0.

    Args:
        metadata: Minimum and scale of each group.
    """
    scales: Tensor = metadata[:, 1].to(torch.promote_types(metadata.dtype, torch.float32), copy=True)
    return scales.neg_().clamp_min_(0).mul_(_DEVIATION)


def spread(figures: Tensor, group_size: int, out: Tensor) -> None:
    """Writes the figure of each group to its elements.

    Args:
        figures: One for each group.
        group_size: Elements of a group; the last may be short.
        out: Where to, one-dimensional.
    """
    whole = out.numel() // group_size
    out[: whole * group_size].view(whole, group_size).copy_(figures[:whole, None])
    if whole * group_size < out.numel():
        out[whole * group_size :] = figures[whole]


class Altered(ABC):
    """Codes of a region as one of its readers gets them: what is decoded is altered.

    Args:
        root: The codes.
    """

    __slots__ = ("_root", "readers")

    depth = 0
    origin = EXACT

    def __init__(self, root: Encoded) -> None:
        self._root = root
        self.readers = 0

    @property
    def bits(self) -> int:
        """Width of its code."""
        return self._root.bits

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the region."""
        return self._root.dtype

    @property
    def decision(self) -> Decision:
        """Its codec and width."""
        return self._root.decision

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """None: a pass alters nothing."""
        return None

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout."""
        plain = Layout(layout.dense, layout.region_stride, layout.dense)
        region = self._root.decode(plain)
        self._alter(flat_of(region), plain)
        return layout.restore(region)

    @abstractmethod
    def _alter(self, flat: Tensor, plain: Layout) -> None:
        """Alters decoded elements in place.

        Args:
            flat: The elements in memory order.
            plain: Layout of the region.
        """


class Shifted(Altered):
    """Codes whose decoded values are moved by some deviations of their error.

    Args:
        root: The codes.
        times: How many deviations.
    """

    __slots__ = ("_times",)

    def __init__(self, root: Encoded, times: float) -> None:
        super().__init__(root)
        self._times = times

    def _alter(self, flat: Tensor, plain: Layout) -> None:
        code = self._root.code.loaded()
        if isinstance(code, Groups):
            self._move(flat, code, self._times * self._root.widening)

    def _move(self, flat: Tensor, code: Groups, times: float) -> None:
        deviations = deviations_of(code.metadata).mul_(times)
        transform = code.transform if isinstance(code, Transformed) else None
        inverse = None if transform is None else transform.inverse()
        for start, stop in tiles(flat, at_once(flat)):
            step = deviations.new_empty(stop - start)
            spread(deviations[start // code.group_size :], code.group_size, step)
            if code.bent is not None and inverse is not None:
                values = torch.empty_like(step, dtype=code.bent.values(flat.dtype))
                code.bent.forward(flat)(start, values)
                inverse(start, values.add_(step))
                flat[start:stop].copy_(values)
                continue
            if inverse is not None:
                # An inverse that is linear but for a shift.
                shift = torch.zeros_like(step)
                inverse(start, step)
                inverse(start, shift)
                step.sub_(shift)
            flat[start:stop].add_(step)
        code.restore_aside(flat)

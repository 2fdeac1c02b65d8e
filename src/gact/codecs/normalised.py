"""Inputs of normalisations, held as normalised: no row or channel is then small beside another.

The mean and the deviation are those that the normalisation has computed and autograd holds anyway. Whatever their
rounding, what is divided by a deviation is multiplied by it again.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..autograd.internals import FakeTensor
from ..ops import boxsamples
from ..ops.looks import channels_differ
from .channels import Channels, channels_of, in_memory
from .lines import Lines
from .transforms import Forward, Inverse


class Figures(NamedTuple):
    """Statistics of a normalisation.

    Attributes:
        size: Size of a region, or of another shape of it.
        stride: Its stride in that shape.
        rstd: Reciprocal deviations, of a size that broadcasts to that.
        mean: Means of the same size; None for 0.
        nbytes: Bytes of the two that nobody else holds.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    rstd: Tensor
    mean: Tensor | None
    nbytes: int = 0


class Normalised:
    """A region less its mean, over its deviation, each given for rows or channels.

    Args:
        channels: Which elements share a mean and a deviation.
        figures: The statistics.

    Attributes:
        rstd: Reciprocal deviations, without their graph.
        mean: Means, likewise; None for 0.
    """

    __slots__ = ("_channels", "_order", "mean", "nbytes", "rstd")

    name = "normalised"
    rounding = "dithered"
    parts: tuple[str, ...] = ()

    def __init__(self, channels: Channels, figures: Figures) -> None:
        self._channels = channels
        # Outputs of the node that is to hold them: with their history they would keep it alive.
        self.rstd = figures.rstd.detach()
        self.mean = None if figures.mean is None else figures.mean.detach()
        order = in_memory(figures.size, figures.stride)
        self._order = [*order, *(dim for dim in range(len(figures.size)) if dim not in order)]
        self.nbytes = figures.nbytes

    @property
    def line(self) -> tuple[int, int] | None:
        """One channel for each mean, where that is a line."""
        return self._channels.line

    def lines(self) -> Lines:
        """Deviation and mean of each channel."""
        return [(torch.stack((self._deviations()[0], self._means()[0])), self._channels.inner)]

    def values(self, dtype: torch.dtype) -> torch.dtype:
        """float32."""
        return torch.float32

    def forward(self, flat: Tensor) -> Forward:
        """Takes the mean away and divides by the deviation."""
        rstd, mean = self._table(self.rstd), self._means()

        def write(start: int, out: Tensor) -> None:
            for piece in self._channels.pieces(start, start + out.numel()):
                target = piece.of(out, start)
                # Not factor and shift in one: where the mean is large against the deviation, their sum cancels.
                torch.sub(piece.of(flat, 0), piece.figures(mean), out=target).mul_(piece.figures(rstd))

        return write

    def line_by_line(self) -> boxsamples.Lines:
        """The same as looks at boxes take it."""
        factor, shift = (each.contiguous() for each in self.tables())
        return boxsamples.Lines(factor, shift, self._channels.inner, self._channels.span)

    def inverse(self) -> Inverse:
        """Multiplies by the deviation and adds the mean."""
        deviation, mean = self._deviations(), self._means()

        def undo(start: int, values: Tensor) -> None:
            for piece in self._channels.pieces(start, start + values.numel()):
                piece.of(values, start).mul_(piece.figures(deviation)).add_(piece.figures(mean))

        return undo

    def tables(self) -> tuple[Tensor, Tensor]:
        """Reciprocal deviations and means as tables of blocks and channels."""
        return self._table(self.rstd), self._means()

    def _table(self, figures: Tensor) -> Tensor:
        """Figures as a table of blocks and channels."""
        return figures.permute(self._order).reshape(self._channels.blocks, -1).float()

    def _means(self) -> Tensor:
        mean = self.mean
        return torch.zeros_like(self._table(self.rstd)) if mean is None else self._table(mean)

    def _deviations(self) -> Tensor:
        return self._table(self.rstd).reciprocal()


UNEVEN = 8.0
"""How many times as wide as one of its channels a group's range is for channels to be normalised."""
_REMOTE = 128.0
"""How many deviations from zero a mean lies for the rounding of a group's minimum to matter."""


def normalised(figures: Figures, dtype: torch.dtype, group_size: int) -> Normalised | None:
    """The transform of a region that is normalised.

    On devices, where looking at the statistics would wait, it is made wherever groups may reach over channels.

    Args:
        figures: Statistics for the size and stride of the region.
        dtype: Dtype of the region.
        group_size: Elements of a group.

    Returns:
        The transform; None where nothing is gained, because groups reach over channels of much the same mean and
        deviation only, where the statistics do not fit the region or are not finite, and for float64.
    """
    size, stride, rstd, mean, _ = figures
    channels = channels_of(size, stride, rstd.size())
    if channels is None or dtype == torch.float64 or type(rstd) is FakeTensor:
        return None
    if mean is not None and mean.size() != rstd.size():
        return None
    made = Normalised(channels, figures)
    if not rstd.is_cpu:
        return made if channels.inner % group_size else None
    touched = 1 if channels.inner % group_size == 0 else min((group_size - 2) // channels.inner + 2, channels.channels)
    rstd, mean = made.tables()
    return made if channels_differ(rstd.contiguous(), mean.contiguous(), touched, _REMOTE, UNEVEN) else None

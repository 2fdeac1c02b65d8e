"""Which elements of a region, in memory order, have a factor and a shift in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor


class Piece(NamedTuple):
    """Elements that one broadcasting op works on.

    Attributes:
        start: The first one.
        stop: Behind the last one.
        shape: Shape in which figures are broadcast to them.
        block: Their block.
        channel: Channel of the first figure.
        length: How many channels have figures among them, one after the other; after the last one comes the first.
        column: Whether each row of the shape has one figure; otherwise each column has.
    """

    start: int
    stop: int
    shape: tuple[int, ...]
    block: int
    channel: int
    length: int
    column: bool = False

    def of(self, part: Tensor, start: int) -> Tensor:
        """Its elements in a part of the region that begins at ``start``, as figures are broadcast to them."""
        return part[self.start - start : self.stop - start].view(self.shape)

    def figures(self, table: Tensor) -> Tensor:
        """Its figures in a table ``[blocks, channels]``, to be broadcast."""
        row = table[self.block]
        if self.channel + self.length > row.numel():
            row = row.repeat(-(-(self.channel + self.length) // row.numel()))
        figures = row[self.channel : self.channel + self.length]
        return figures[:, None] if self.column else figures


class Channels(NamedTuple):
    """Blocks of elements in which the channel of element i is ``i // inner % channels``.

    Attributes:
        blocks: How many there are, each with figures of its own.
        channels: Channels of a block.
        inner: Neighbours in one channel.
        span: Elements of a block.
    """

    blocks: int
    channels: int
    inner: int
    span: int

    @property
    def line(self) -> tuple[int, int] | None:
        """Channels and neighbours of a line that covers the region; None if it takes more than one."""
        return (self.channels, self.inner) if self.blocks == 1 else None

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """The elements from ``start`` to ``stop`` as few pieces."""
        while start < stop:
            block = start // self.span
            end = min(stop, (block + 1) * self.span)
            yield from self._within(block, start, end)
            start = end

    def _within(self, block: int, start: int, stop: int) -> Iterator[Piece]:
        """Pieces of one block: what is left of a run, whole runs, what is begun of one."""
        run = self.inner if self.inner > 1 else self.channels
        while start < stop:
            at = start - block * self.span
            whole = (stop - start) // run if at % run == 0 else 0
            end = start + whole * run if whole else min(stop, start + run - at % run)
            shape = (whole, run) if whole else (end - start,)
            if self.inner > 1:
                yield Piece(start, end, shape, block, at // run % self.channels, max(whole, 1), whole > 0)
            else:
                yield Piece(start, end, shape, block, at % run, shape[-1])
            start = end


def in_memory(size: Sequence[int], stride: Sequence[int]) -> list[int]:
    """The dimensions of more than one element, outermost in memory first."""
    return sorted((dim for dim, extent in enumerate(size) if extent != 1), key=lambda dim: -stride[dim])


def channels_of(size: Sequence[int], stride: Sequence[int], figures: Sequence[int]) -> Channels | None:
    """The channels of figures that broadcast to a dense tensor.

    Args:
        size: Size of the tensor.
        stride: Its stride.
        figures: Size of the figures.

    Returns:
        The channels, in which figures in the order of ``in_memory`` lie one after the other; None if figures do not
        broadcast, are all the same, or lie in memory in a way that blocks of channels cannot tell.
    """
    if len(figures) != len(size) or any(own not in (1, extent) for own, extent in zip(figures, size, strict=True)):
        return None
    runs: list[list[int]] = []
    for dim in in_memory(size, stride):
        varies = figures[dim] != 1
        if runs and runs[-1][0] == varies:
            runs[-1][1] *= size[dim]
        else:
            runs.append([varies, size[dim]])
    inner = runs.pop()[1] if runs and not runs[-1][0] else 1
    if not runs:
        return None
    channels = runs.pop()[1]
    span = channels * inner * (runs.pop()[1] if runs else 1)
    blocks = runs.pop()[1] if runs else 1
    return None if runs else Channels(blocks, channels, inner, span)

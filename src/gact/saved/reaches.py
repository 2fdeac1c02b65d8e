"""How wide groups would be if steps were those that elements have: what a code of few bits may be too coarse for.

A unit is what has one step: a group, a box, or an element where a transform gives those of a group different steps.

NOTE: Channels
Where channels are coded each in its own deviations, an element's step is that of its group times its channel's
deviation, so which elements of a group are beyond a limit is a question of its channels in order of size: one search a
group, and elements are looked at only in groups that have some.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..codecs.boxes import Boxes
from ..codecs.chunks import at_once, flat_of, tiles
from ..codecs.groups import Groups
from ..codecs.transformed import Transformed

_PART = 4
"""A tile is such a part of those in which regions are coded, since it takes several tensors."""
_PATTERNS = 8
"""There must be so many times as many groups as ways in which channels lie in a group."""


def counted(code: Groups, region: Tensor, limits: list[float]) -> tuple[list[int], int]:
    """How many units are wider than each of some limits, and how many there are.

    Args:
        code: Codes of a region.
        region: The region.
        limits: The limits.
    """
    channels = _channels(code, region)
    if channels is not None:
        return channels.counted(limits), region.numel()
    counts, total = torch.zeros(len(limits), dtype=torch.int64), 0
    for _, reaches in _reaches(code, region):
        counts += torch.stack([torch.count_nonzero(reaches > limit) for limit in limits])
        total += reaches.numel()
    return counts.tolist(), total


def beyond(code: Groups, region: Tensor, limit: float) -> Tensor:
    """The numbers of units that are wider than a limit, int64.

    Args:
        code: See ``counted``.
        region: Likewise.
        limit: The limit.
    """
    channels = _channels(code, region)
    if channels is not None:
        return channels.beyond(limit, region.numel())
    return torch.cat([(reaches > limit).nonzero()[:, 0].add_(start) for start, reaches in _reaches(code, region)])


class _Channels(NamedTuple):
    """Groups of elements in channels that lie next to each other.

    Attributes:
        ranges: Of each group, ``[groups]``.
        patterns: Deviations of the elements of a group for each of the ways in which channels lie in one, which follow
            each other, ``[patterns, elements]``.
    """

    ranges: Tensor
    patterns: Tensor

    def counted(self, limits: list[float]) -> list[int]:
        """How many elements are beyond each limit; those that a short group lacks count with it."""
        count, size = self.patterns.shape
        ordered = self.patterns.sort(1).values
        ranges = torch.cat((self.ranges, self.ranges.new_zeros(-len(self.ranges) % count))).view(-1, count).t()
        found = []
        for limit in limits:
            within = torch.searchsorted(ordered, limit / ranges.contiguous(), right=True)
            found.append(ranges.numel() * size - int(within.sum()))
        return found

    def beyond(self, limit: float, numel: int) -> Tensor:
        """The elements that are beyond a limit."""
        count, size = self.patterns.shape
        which = torch.arange(len(self.ranges)) % count
        groups = (self.ranges * self.patterns.amax(1)[which] > limit).nonzero()[:, 0]
        group, element = (self.ranges[groups, None] * self.patterns[which[groups]] > limit).nonzero().unbind(1)
        found = groups[group] * size + element
        return found[found < numel]


def _channels(code: Groups, region: Tensor) -> _Channels | None:
    """The groups of a region whose channels are its innermost elements; None of any other."""
    line = code.line if isinstance(code, Transformed) and code.aside_units is None else None
    if line is None or line[1] != 1 or region.dtype == torch.float64:
        return None
    length, size = line[0], code.group_size
    count = length // math.gcd(length, size)
    if count * _PATTERNS > len(code.metadata):
        return None
    (factors, _), _ = code.lines()[0]
    channel = (torch.arange(count)[:, None] * size + torch.arange(size)) % length
    return _Channels(_ranges(code), factors.abs()[channel])


def _ranges(code: Groups) -> Tensor:
    """The range of every group of what is quantized, float32."""
    ranges: Tensor = code.metadata[:, 1].abs().float().mul_((1 << code.bits) - 1)
    return ranges


def _reaches(code: Groups, region: Tensor) -> Iterator[tuple[int, Tensor]]:
    """How wide units are, from a number on."""
    reaches = _ranges(code)
    if not isinstance(code, Transformed) or code.bent is not None:
        yield 0, reaches
        return
    transform = code.transform
    if isinstance(transform, Boxes):
        yield 0, code.widths()
        return
    inverse, size = transform.inverse(), code.group_size
    for start, stop in tiles(flat_of(region), max(at_once(region) // _PART // size, 1) * size):
        each = reaches[start // size : -(-stop // size)].repeat_interleave(size)[: stop - start]
        each = each.to(transform.values(region.dtype))
        shift = torch.zeros_like(each)
        inverse(start, each)
        inverse(start, shift)
        if code.aside_units is not None:
            there = code.aside_units.long() - start
            each[there[(there >= 0) & (there < stop - start)]] = 0.0
        yield start, each.sub_(shift).abs_()

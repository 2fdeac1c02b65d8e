"""Which regions are held in boxes, and in which: what a few of them show.

NOTE: What is compared
The mean squared range of boxes with that of groups, which noise is in proportion to, in the units of the transform that
a region would have otherwise: deviations of channels, or a hyperbola. Bits that boxes take more than groups count as
what they would do as bits of codes.

NOTE: Rows that are quiet
In a group of one row each row has the step that it needs, and in a box all rows have that of the loudest. Where most
rows are padding, which no gradient reaches, boxes look worse on average than they are; where quiet rows count, they are
not worth what loud ones gain. It cannot be told which, so much must be gained of the one and little lost of the other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..ops.boxes import Grid, Look, look_at, unevenness
from ..ops.boxsamples import Hyperbola, Lines, sampled
from .bent import Bent
from .boxes import GROUP, Boxes
from .channels import in_memory
from .choice import is_looked_at
from .chunks import flat_of
from .normalised import Normalised
from .transforms import FACTOR, Transform

_SAMPLE, _MOST = 2**16, 2**18
"""Elements that are looked at, but whole boxes of all channels, which may be no more than so many."""
_SHORTEST = 8
"""Channels of a row."""
_BOX = 128
"""Elements of a box, about: with two bytes they take as many bits as the metadata of groups of 256."""
_WORTH = 0.75
_MUCH, _NO_WORSE = 0.7, 1.25
"""Boxes are taken if they leave so much of the noise at most; or so much of that of groups which are noisy, each
counted by the noise it has, and no more than so many times that of all."""
_FIRST, _HOPELESS = 4, 1.08
"""Of so many bands one is looked at first, and the others unless it is so many times too bad."""
_ABOUT = 1 / 8
"""Of a box, how far a value may be off at few bits: a curve counts as steep as it is between here and there."""
_WIDEST, _FEW = 22.0, 1 / 256
"""Boxes of arguments of GELU, all but so many, are no wider than this: at 4 bits their steps are too large for it."""
_UNEVEN = 3.0
"""Mean square of the ranges of boxes at most, against the middle one of their channel."""
_SMALLEST = 128
"""Elements of a group at least for boxes to be taken in its place."""
_METADATA = 32.0
"""Bits of a group's metadata."""
_BOUNDS, _RANGES = 16.0, 64.0
"""Bits of a box, and of a channel."""


def boxed(region: Tensor, group_size: int, transform: Transform | None, alike: bool = True) -> Boxes | None:
    """The boxes of a region; None where they have not much less noise than groups of what a transform makes of it.

    On devices, where looking would wait, and without data there are none.

    Args:
        region: A dense region of a float dtype.
        group_size: Elements of a group.
        transform: What it would have otherwise: None, that of channels which lie next to each other, or one that works
            on each element by itself.
        alike: Whether rows must be of much the same size, since who reads them may divide by it.
    """
    if group_size < _SMALLEST:
        return None  # who asks for small groups gets them
    if not is_looked_at(region):
        return None
    flat = flat_of(region.detach())
    best, least, under = None, math.inf, _under(transform)
    for grid in _grids(region.size(), region.stride()):
        left = _pays(flat, grid, group_size, under)
        if left < least:
            best, least = grid, left
    return None if best is None else in_boxes(region, best, transform, alike)


def in_boxes(region: Tensor, grid: Grid, transform: Transform | None, alike: bool) -> Boxes | None:
    """A region in boxes which are known to have less noise; None where they have no room for all that is in it.

    Args:
        region: See ``boxed``; on a CPU.
        grid: The boxes.
        transform: See ``boxed``.
        alike: Likewise.
    """
    look = look_at(flat_of(region.detach()), grid)
    boxes = Boxes(look.low, look.high, grid)
    widths = boxes.widths()
    # A row that no sample has shown may be so loud that the rest of its boxes drowns, where a group would be lost
    # alone; and bounds of 8 bits, which reach over the channel, are then too coarse for all other boxes.
    if not unevenness(widths, boxes.ranges[1]) <= _UNEVEN:
        return None
    if alike and _differ(look, widths):
        return None
    if isinstance(transform, Bent) and bool((widths > _WIDEST * transform.scale).float().mean() > _FEW):
        return None
    return boxes


def _grids(size: torch.Size, stride: tuple[int, ...]) -> list[Grid]:
    """Boxes of rows that follow each other and boxes of a plane; channels are one innermost dimension, or two."""
    extents = [size[dim] for dim in in_memory(size, stride)]
    found = []
    for inner in (1, 2):
        channels, rest = math.prod(extents[-inner:]), extents[:-inner]
        rows = math.prod(rest)
        if channels < _SHORTEST or rows < 2 * _BOX:
            continue
        found.append(Grid(rows, 1, channels, _BOX, 1))
        if len(rest) > 1:
            wide, high = rest[-1], rest[-2]
            broad = _part(wide, round(_BOX**0.5))
            wanted = _BOX // broad
            tall = _part(high, wanted) if high > wanted else high * (wanted // high)
            found.append(Grid(rows // wide, wide, channels, tall, broad))
    return [grid for grid in found if _band(grid) <= min(_MOST, size.numel() // 2)]


def _part(extent: int, wanted: int) -> int:
    """A part of an extent that is about so large: the nearest that divides it, unless none is near."""
    near = [part for part in range(-(-wanted // 2), 2 * wanted + 1) if extent % part == 0]
    return min(near, key=lambda part: abs(math.log(part / wanted)), default=min(extent, wanted))


def _band(grid: Grid) -> int:
    """Elements of boxes beside each other."""
    return grid.tall * grid.wide * grid.channels


def _pays(flat: Tensor, grid: Grid, group_size: int, under: Lines | Hyperbola | None) -> float:
    """How much of the noise boxes leave, price included, judged by some of them; infinite where that is too much.

    A few of those tell first whether it is worth looking at the others.
    """
    length, bands = _band(grid), grid.high // grid.tall
    count = min(max(_SAMPLE // length, 1), bands)
    starts = [(2 * number + 1) * bands // (2 * count) * length for number in range(count)]
    if count >= _FIRST and _left(flat, grid, group_size, under, starts[1::_FIRST], _HOPELESS) == math.inf:
        return math.inf
    return _left(flat, grid, group_size, under, starts, 1.0)


def _left(
    flat: Tensor, grid: Grid, group_size: int, under: Lines | Hyperbola | None, starts: list[int], slack: float
) -> float:
    """How much of the noise of some bands of boxes is left; infinite where it is so many times too much."""
    bits = (_BOUNDS * grid.boxes + _RANGES) / (grid.high * grid.wide) + _METADATA / GROUP - _METADATA / group_size
    price = math.pow(4.0, bits)
    shown = sampled(flat, grid, starts, group_size, under)
    even = price * _ratio(shown.boxes, shown.groups)
    own = price * _ratio(shown.plain_boxes, shown.plain_groups)
    loud = price * _ratio(shown.both, shown.squares)
    if not (own <= slack * _NO_WORSE and even <= slack * _NO_WORSE):
        return math.inf
    return even + loud if even <= slack * _WORTH or loud <= slack * _MUCH else math.inf


def _ratio(first: float, second: float) -> float:
    """What a tensor would divide to: infinite or NaN where the second is 0."""
    return first / second if second else math.inf


def _under(transform: Transform | None) -> Lines | Hyperbola | None:
    """A transform as looks at boxes take it."""
    if isinstance(transform, Normalised):
        return transform.line_by_line()
    return transform.hyperbola(_ABOUT) if isinstance(transform, Bent) else None


def _differ(look: Look, widths: Tensor) -> bool:
    """Whether rows of a box are of very different size: what is small, or 0, would drown."""
    square = widths.square().sum(1)
    return not bool((square * look.mean <= FACTOR**2 * square.mean() * look.energy).all())

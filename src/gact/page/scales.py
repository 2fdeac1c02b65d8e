"""Where the points and the ticks of a chart lie, and what its points are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

_LEAST, _FEW = 0.6, 6
"""Of few phases, each takes at least this part of an equal share of the width, so that its name can be read."""
_COLUMNS = 480
_TICKS = 5
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class Moment:
    """What was alive after one operation.

    Attributes:
        phase: Of the step.
        what: The operation.
        size: Bytes.
        parts: Bytes by kind, in the order of the chart's ``KINDS``; empty where they are not known.
    """

    phase: str
    what: str
    size: int
    parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """One way of training.

    Attributes:
        name: Of the way.
        moments: In order.
    """

    name: str
    moments: Sequence[Moment]


Point = tuple[float, Moment]
Phase = tuple[float, float, str]


def ticks(highest: float) -> list[tuple[float, str]]:
    """Round values from 0 up to ``highest`` bytes, five or so, with their labels."""
    power = min(int(math.log2(highest) // 10), len(_UNITS) - 1) if highest >= 1 else 0
    unit = 1024.0**power
    raw = max(highest / unit / _TICKS, 1e-9)
    ten = 10.0 ** math.floor(math.log10(raw))
    step = next(ten * factor for factor in (1, 2, 2.5, 5, 10) if ten * factor >= raw)
    count = int(highest / unit / step + 1e-9)
    return [(at * step * unit, f"{at * step:g} {_UNITS[power]}") for at in range(count + 1)]


def spread(curves: Sequence[Curve]) -> tuple[list[list[Point]], list[Phase]]:
    """The moments of each curve with their places from 0 to 1, and the phases with theirs.

    Phases of all curves are drawn over each other where they follow each other alike: the width of each is the average
    share of operations in it. Where they do not, each curve is stretched to the whole width by itself, and the phases
    are those of the first. Of many moments in one column, the highest is taken, so that no peak is lost.
    """
    groups = [[list(group) for _, group in groupby(each.moments, key=lambda m: m.phase)] for each in curves]
    names = [[group[0].phase for group in each] for each in groups]
    if not names or not names[0]:
        return [[] for _ in curves], []
    alike = all(each == names[0] for each in names)
    counts = [[len(group) for group in each] for each in groups]
    common = _widths([_mean(column) for column in zip(*counts, strict=True)]) if alike else _widths(counts[0])
    points = []
    for each, count in zip(groups, counts, strict=True):
        points.append(_placed(each, common if alike else _widths(count)))
    edges = _edges(common)
    return points, [(*edge, name) for edge, name in zip(edges, names[0], strict=True)]


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


def _widths(counts: Sequence[float]) -> list[float]:
    """Shares of the width."""
    whole = sum(counts) or 1
    shares = [count / whole for count in counts]
    if len(shares) <= _FEW:
        shares = [max(share, _LEAST / len(shares)) for share in shares]
    return [share / (sum(shares) or 1) for share in shares]


def _edges(widths: Sequence[float]) -> list[tuple[float, float]]:
    ends = [sum(widths[: at + 1]) for at in range(len(widths))]
    return list(zip([0.0, *ends[:-1]], ends, strict=True))


def _placed(groups: Sequence[Sequence[Moment]], widths: Sequence[float]) -> list[Point]:
    points: list[Point] = []
    for group, (start, end) in zip(groups, _edges(widths), strict=True):
        columns = max(round(_COLUMNS * (end - start)), 2)
        every = max(len(group) / columns, 1)
        for column in range(math.ceil(len(group) / every)):
            first, last = int(column * every), max(int((column + 1) * every), int(column * every) + 1)
            inside = range(first, min(last, len(group)))
            if inside:
                at = max(inside, key=lambda index: group[index].size)
                points.append((start + (end - start) * (at + 0.5) / len(group), group[at]))
    return points

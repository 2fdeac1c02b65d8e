"""Memory over a step drawn with matplotlib, for notebooks and papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import MissingExtraError
from ..page import KINDS, spread
from .figures import Figures
from .pages import curve

_COLORS = ("#a3afbf", "#12876f", "#6fa8ee", "#f2b06b", "#b79ae0")
_MIB = 2**20


def draw(profile: Figures, others: Mapping[str, Figures], name: str, axes: Any = None) -> Any:
    """A stack of what holds the memory of one profile, and the outlines of all.

    Args:
        profile: Whose stack is drawn.
        others: Profiles beside it, by name.
        name: Of ``profile``.
        axes: Where to draw; None for a new figure of pyplot.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    if axes is None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise MissingExtraError(
                "profile.plot() needs matplotlib: run `pip install matplotlib` (gact's extra 'plot'). "
                "profile.to_html() draws without it."
            ) from error
        _, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
    (points, *beside), phases = spread([curve(name, profile), *(curve(way, each) for way, each in others.items())])
    places = [x for x, _ in points]
    parts = [[moment.parts[at] / _MIB for _, moment in points] for at in range(len(KINDS))]
    shown = [at for at, part in enumerate(parts) if any(part)]
    if shown:
        labels, colors = [list(KINDS.values())[at] for at in shown], [_COLORS[at] for at in shown]
        axes.stackplot(places, *(parts[at] for at in shown), labels=labels, colors=colors)
    for way, line in zip((name, *others), (points, *beside), strict=True):
        if line:
            peak = max(moment.size for _, moment in line) / _MIB
            axes.plot([x for x, _ in line], [moment.size / _MIB for _, moment in line], label=f"{way}: {peak:.4g} MiB")
    axes.set_xticks([(start + end) / 2 for start, end, _ in phases], [phase for *_, phase in phases])
    axes.set(ylabel="live tensors, MiB", xlim=(0, 1), ylim=(0, None))
    if points:
        axes.legend(fontsize="small")
    return axes

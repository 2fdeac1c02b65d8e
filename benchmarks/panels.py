"""Curves of several ways in panels beside each other, each with a band around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Band(NamedTuple):
    """A curve over steps and what lies around it, each of one length."""

    steps: Sequence[int]
    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def draw_panels(
    path: Path,
    panels: Mapping[str, Mapping[str, Band]],
    colors: Mapping[str, str],
    columns: int,
    size: tuple[float, float],
    yscale: str = "linear",
) -> None:
    """Loss of training over steps, with a legend in the first panel.

    Args:
        path: Where the picture goes.
        panels: Bands by title and way.
        colors: Of the ways, in their order.
        columns: Panels beside each other.
        size: Width and height of a panel in inches.
        yscale: Of the losses.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False)
    places = list(axes.flat)
    for axis, (title, ways) in zip(places, panels.items(), strict=False):
        for way, color in colors.items():
            steps, middle, low, high = ways.get(way, Band([], [], [], []))
            axis.plot(steps, middle, color=color, label=way if steps else None)
            axis.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
        axis.set(title=title, xlabel="step", yscale=yscale)
    for axis in places[len(panels) :]:
        axis.set_axis_off()
    places[0].set_ylabel("loss of training")
    places[0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)

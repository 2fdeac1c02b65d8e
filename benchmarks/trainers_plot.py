"""Draws ``docs/images/trainers.png`` from the rows of the trainers case: ``python benchmarks/trainers_plot.py``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.trainers_rows import RESULTS, curves  # noqa: E402 - found by the line above

COLORS = {"plain": "black", "4 bits": "C0"}
COLUMNS = 4


def draw(path: Path, folder: Path = RESULTS) -> None:
    """Loss of training over steps, a panel for each trainer: mean of the seeds, and a standard deviation around it.

    Args:
        path: Where the picture goes.
        folder: Where the rows are.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = curves(folder)
    rows = -(-len(found) // COLUMNS)
    figure, axes = pyplot.subplots(rows, COLUMNS, figsize=(3.4 * COLUMNS, 2.8 * rows), squeeze=False)
    panels = list(axes.flat)
    for axis, (trainer, ways) in zip(panels, found.items(), strict=False):
        for way, color in COLORS.items():
            curve = ways.get(way, {})
            means, deviations = ([getattr(each, name) for each in curve.values()] for name in ("mean", "deviation"))
            low, high = ([mean + sign * off for mean, off in zip(means, deviations, strict=True)] for sign in (-1, 1))
            axis.plot(list(curve), means, color=color, label=way)
            axis.fill_between(list(curve), low, high, color=color, alpha=0.15, linewidth=0)
        axis.set(title=trainer, xlabel="step")
    for axis in panels[len(found) :]:
        axis.set_axis_off()
    panels[0].set_ylabel("loss of training")
    panels[0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "trainers.png")

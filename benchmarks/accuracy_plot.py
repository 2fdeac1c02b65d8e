"""Draws ``docs/images/accuracy.png`` from the rows of the accuracy case: ``python benchmarks/accuracy_plot.py``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.accuracy_rows import RESULTS, curves  # noqa: E402 - found by the line above
from benchmarks.training.ways import WAYS  # noqa: E402

COLORS = dict(zip(WAYS, ("black", *(f"C{number}" for number in range(10)), "gold", "navy"), strict=False))


def draw(path: Path, folder: Path = RESULTS) -> None:
    """Loss of training over steps, a panel for each task: median of the seeds, and their 20 to 80 %.

    Args:
        path: Where the picture goes.
        folder: Where the rows are.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = curves(folder)
    figure, axes = pyplot.subplots(1, len(found), figsize=(3.6 * len(found), 3.2), squeeze=False)
    for axis, (task, ways) in zip(axes[0], found.items(), strict=True):
        for way, color in COLORS.items():
            spreads = ways.get(way, {})
            steps = sorted(spreads)
            axis.plot(steps, [spreads[step].p50 for step in steps], color=color, label=way if steps else None)
            low, high = ([getattr(spreads[step], name) for step in steps] for name in ("p20", "p80"))
            axis.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
        axis.set(title=task, xlabel="step", yscale="log")
    axes[0][0].set_ylabel("loss of training")
    axes[0][0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "accuracy.png")

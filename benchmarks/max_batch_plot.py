"""Draws throughput against batch, from the rows of the max_batch case: ``docs/images/max_batch.png``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.rows import read  # noqa: E402 - found by the line above
from gact.levels import LEVELS  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
COLORS = ("black", "tab:gray", "tab:blue", "tab:purple", "tab:orange", "tab:green")
Points = dict[str, dict[str, list[tuple[int, float]]]]


def points(path: Path) -> Points:
    """For each network and level, batches and samples a second."""
    found: Points = {}
    for row in read(path):
        config = json.loads(row["config"])
        levels = found.setdefault(config["network"], {})
        levels.setdefault(config["level"], []).append((config["batch"], float(row["p50"])))
    return found


def draw(path: Path, folder: Path = RESULTS) -> None:
    """A panel for each network: samples a second over the batch, up to the largest that fits.

    Args:
        path: Where the picture goes.
        folder: Where the rows are.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = points(folder / "max_batch_throughput.csv")
    figure, axes = pyplot.subplots(1, len(found), figsize=(4.6 * len(found), 3.4), squeeze=False)
    for axis, (network, levels) in zip(axes[0], found.items(), strict=True):
        for level, color in zip(LEVELS, COLORS, strict=True):
            if level in levels:
                batches, speeds = zip(*sorted(levels[level]), strict=True)
                axis.plot(batches, speeds, marker="o", markersize=4, color=color, label=level)
        axis.set(title=network, xlabel="batch", xscale="log", ylim=(0, None))
        axis.legend(fontsize="small")
    axes[0][0].set_ylabel("samples a second")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "max_batch.png")

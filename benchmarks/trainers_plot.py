"""Draws ``docs/images/trainers.png`` from the rows of the trainers case: ``python benchmarks/trainers_plot.py``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.panels import Band, draw_panels  # noqa: E402 - found by the line above
from benchmarks.trainers_rows import RESULTS, Curve, curves  # noqa: E402

COLORS = {"plain": "black", "4 bits": "C0"}
COLUMNS = 4


def draw(path: Path, folder: Path = RESULTS) -> None:
    """Loss of training over steps, a panel for each trainer: mean of the seeds, and a standard deviation around it.

    Args:
        path: Where the picture goes.
        folder: Where the rows are.
    """
    panels = {trainer: {way: _band(ways[way]) for way in ways} for trainer, ways in curves(folder).items()}
    draw_panels(path, panels, COLORS, COLUMNS, (3.4, 2.8))


def _band(curve: Curve) -> Band:
    middle, low, high = ([each.mean + off * each.deviation for each in curve.values()] for off in (0, -1, 1))
    return Band(list(curve), middle, low, high)


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "trainers.png")

"""Draws ``docs/images/accuracy.png`` from the rows of the accuracy case: ``python benchmarks/accuracy_plot.py``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.accuracy_rows import RESULTS, curves  # noqa: E402 - found by the line above
from benchmarks.panels import Band, draw_panels  # noqa: E402
from benchmarks.rows import Spread  # noqa: E402
from benchmarks.training.ways import WAYS  # noqa: E402

COLORS = dict(zip(WAYS, ("black", *(f"C{number}" for number in range(10)), "gold", "navy"), strict=False))


def draw(path: Path, folder: Path = RESULTS) -> None:
    """Loss of training over steps, a panel for each task: median of the seeds, and their 20 to 80 %.

    Args:
        path: Where the picture goes.
        folder: Where the rows are.
    """
    panels = {task: {way: _band(ways[way]) for way in ways} for task, ways in curves(folder).items()}
    draw_panels(path, panels, COLORS, len(panels), (3.6, 3.2), "log")


def _band(spreads: Mapping[int, Spread]) -> Band:
    steps = sorted(spreads)
    return Band(steps, *([getattr(spreads[step], name) for step in steps] for name in ("p50", "p20", "p80")))


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "accuracy.png")

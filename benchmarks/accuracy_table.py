"""Prints the table of ``docs/accuracy.md`` from its rows: ``python benchmarks/accuracy_table.py``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.accuracy_rows import RESULTS, Outcome, outcomes  # noqa: E402 - found by the line above
from benchmarks.training import TASKS  # noqa: E402
from benchmarks.training.ways import WAYS  # noqa: E402

WITHIN = 2.0
"""Standard errors by which a mean may differ from plain training's."""


def table(folder: Path = RESULTS) -> str:
    """One line per task and way: seeds, mean and deviation, difference from plain training.

    Args:
        folder: Where the rows are.
    """
    lines = [
        "| task | way | seeds | result | difference from plain | | seed by seed |",
        "|---|---|---|---|---|---|---|",
    ]
    found = outcomes(folder)
    for task in TASKS:
        known = found.get(task, {})
        lines += [_line(task, way, known[way], known.get("plain")) for way in WAYS if way in known]
    return "\n".join(lines)


def _line(task: str, way: str, outcome: Outcome, plain: Outcome | None) -> str:
    scale, unit, places = (100.0, " %", 2) if outcome.metric == "test_accuracy" else (1.0, "", 4)
    cells = [task, way, str(len(outcome.values))]
    cells.append(f"{scale * outcome.mean:.{places}f}{unit} ± {scale * outcome.deviation:.{places}f}")
    if plain is None or plain is outcome:
        cells += ["", "", ""]
    else:
        difference, error = outcome.mean - plain.mean, outcome.error_of_difference(plain)
        cells.append(f"{scale * difference:+.{places}f} ± {scale * error:.{places}f}")
        cells.append("within" if abs(difference) <= WITHIN * error else "outside")
        paired = outcome.less(plain)
        error = paired.deviation / len(paired.values) ** 0.5
        cells.append(f"{scale * paired.mean:+.{places}f} ± {scale * error:.{places}f}")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table())

"""Prints the table of ``docs/architectures.md``, from its rows: ``python benchmarks/architectures_table.py``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.architectures import ARCHITECTURES  # noqa: E402 - found by the line above
from benchmarks.rows import read  # noqa: E402

WIDTHS = (8, 4, 2)


def table() -> str:
    """One line per network: MiB kept plainly and at each width, coverage, noise at each width."""
    figures: dict[tuple[str, str, str], float] = {}
    for row in read(ROOT / "benchmarks" / "results" / "architectures.csv"):
        figures[json.loads(row["config"])["network"], row["way"], row["metric"]] = float(row["p50"])
    columns = ["network", "plain MiB", *(f"{bits} bits" for bits in WIDTHS), "coverage"]
    columns += [f"noise at {bits}" for bits in WIDTHS]
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---|" * (len(columns) - 1)]
    for name in ARCHITECTURES:
        cells = [name, f"{figures[name, 'plain', 'kept_mib']:.1f}"]
        cells += [f"{figures[name, f'{bits} bits', 'kept_mib']:.1f}" for bits in WIDTHS]
        cells.append(f"{figures[name, '4 bits', 'coverage']:.1f} %")
        cells += [f"{figures[name, f'{bits} bits', 'noise']:.1e}" for bits in WIDTHS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())

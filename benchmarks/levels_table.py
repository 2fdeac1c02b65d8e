"""Prints the tables of ``docs/levels.md`` from the rows of the levels case: ``python benchmarks/levels_table.py``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.rows import read  # noqa: E402 - found by the line above

REAL, RANDOM = ("minilm", "efficientnet"), ("bert", "swin_t")
WIDTHS = (1, 2, 3, 4)
SHOWN = ("mean", "worst")


def table(networks: Sequence[str]) -> str:
    """One line per scheme: mean over tensors of its variance to the plain code's, and the worst tensor in brackets.

    Args:
        networks: Those that the columns show.
    """
    figures: dict[str, dict[tuple[str, int, str], float]] = {}
    for row in read(ROOT / "benchmarks" / "results" / "levels.csv"):
        config = json.loads(row["config"])
        kind = row["metric"].removeprefix("variance_ratio").removeprefix("_")
        figures.setdefault(row["way"], {})[config["network"], config["bits"], kind] = float(row["p50"])
    columns = [(network, bits) for network in networks for bits in WIDTHS]
    lines = [
        "| scheme | " + " | ".join(f"{network} {bits}" for network, bits in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for way, known in figures.items():
        if (*columns[0], SHOWN[0]) not in known:
            continue
        cells = (_cell(*(known[network, bits, kind] for kind in SHOWN)) for network, bits in columns)
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(mean: float, worst: float) -> str:
    return f"{mean:.2f} ({worst:.2f})" if worst < 10 else f"{mean:.1f} ({worst:.0f})"


if __name__ == "__main__":
    print(table(REAL), table(RANDOM), sep="\n\n")

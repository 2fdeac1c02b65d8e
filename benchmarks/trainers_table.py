"""Prints the table of the trainers in ``docs/training.md`` from its rows: ``python benchmarks/trainers_table.py``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.trainers_rows import RESULTS, Curve, curves, figures  # noqa: E402 - found by the line above


def table(folder: Path = RESULTS) -> str:
    """One line per trainer: loss in the last tenth of the steps, both ways, and the figures of the compressed one.

    Args:
        folder: Where the rows are.
    """
    lines = [
        "| trainer | steps | plain | 4 bits | seed by seed | curve within | smaller | passes | resumed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    known = figures(folder)
    lines += [_line(trainer, ways, known[trainer]) for trainer, ways in curves(folder).items()]
    return "\n".join(lines)


def within(plain: Curve, other: Curve) -> int:
    """Points of a curve whose mean lies within a standard deviation of the seeds of plain training.

    Args:
        plain: Of plain training.
        other: Of another.
    """
    return sum(abs(other[step].mean - each.mean) <= each.deviation for step, each in plain.items())


def _line(trainer: str, ways: Mapping[str, Curve], known: Mapping[str, float]) -> str:
    plain, other = ways["plain"], ways["4 bits"]
    last = max(plain)
    cells = [trainer, str(last)]
    cells += [f"{each[last].mean:.4f} ± {each[last].deviation:.4f}" for each in (plain, other)]
    paired = other[last].less(plain[last])
    cells += [f"{paired.mean:+.4f} ± {paired.deviation:.4f}", f"{within(plain, other)} of {len(plain)}"]
    cells += [f"{known['ratio']:.1f} x", f"{known['passes']:.0f}", "bit-equal" if known["resumed_equal"] else "no"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table())

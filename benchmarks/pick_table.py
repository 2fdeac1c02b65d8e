"""Tables and picture of ``docs/guides/pick.md`` from the rows of the pick case.

``python benchmarks/pick_table.py`` prints the tables; with a path as argument it writes the picture there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.rows import read  # noqa: E402 - found by the line above

RESULTS = ROOT / "benchmarks" / "results"
Points = dict[str, dict[str, dict[str, float]]]
"""For each network and way its metrics."""


def points(folder: Path = RESULTS) -> Points:
    """The last row of each metric.

    Args:
        folder: Where the rows are.
    """
    found: Points = {}
    for row in read(folder / "pick.csv"):
        ways = found.setdefault(json.loads(row["config"])["network"], {})
        ways.setdefault(row["way"], {})[row["metric"]] = float(row["p50"])
    return found


def tables(folder: Path = RESULTS) -> list[str]:
    """A line for each way: peak and time on each network, against plain training.

    Args:
        folder: Where the rows are.
    """
    found = points(folder)
    head = [f"{network} peak, MiB | time" for network in found]
    lines = [f"| way | {' | '.join(head)} |", "|---|" + "---|---|" * len(found)]
    for way in dict.fromkeys(way for ways in found.values() for way in ways):
        cells = [_cell(ways.get(way)) for ways in found.values()]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


def _cell(metrics: dict[str, float] | None) -> str:
    if metrics is None:
        return " | "
    return f"{metrics['peak_mib']:.0f} | {metrics['ratio_to_plain']:.2f}x"


def draw(path: Path, folder: Path = RESULTS) -> None:
    """A panel for each network: time of a step over its peak, both against plain training.

    Args:
        path: Where the picture goes.
        folder: Where the rows are.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = points(folder)
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 8), squeeze=False)
    markers = "osDv^<>PX*hd"
    for axis, (network, ways) in zip(axes.flat, found.items(), strict=False):
        whole = ways["plain"]["peak_mib"]
        for number, (way, metrics) in enumerate(ways.items()):
            color = "tab:orange" if way.startswith("gact") else "black" if way == "plain" else "tab:blue"
            place = metrics["peak_mib"] / whole, metrics["ratio_to_plain"]
            axis.plot(*place, markers[number % len(markers)], color=color, label=way)
        axis.set(title=network, xlabel="peak of a step, of plain", ylabel="time of a step, of plain")
        axis.set_xlim(0, None)
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize="x-small")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        draw(Path(sys.argv[1]))
    else:
        print("\n".join(tables()))

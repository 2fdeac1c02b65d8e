"""Prints what the zoo gave, from its rows: ``python benchmarks/zoo_table.py [folder of the rows]``.

A family's line counts its architectures, says how many lie within the bounds at all widths, and gives the median and
the largest noise. Below it stand the architectures above the bounds, and how many were left out and why.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
BOUNDS: Mapping[int, float] = {8: 1e-3, 4: 0.1}


@dataclass(frozen=True, slots=True)
class Figure:
    """The noise of one architecture at one width and bits.

    Attributes:
        network: The model type.
        family: What it takes and gives.
        width: Size of the hidden states.
        bits: Of the codes.
        noise: Of the gradient; infinite where a gradient is not finite or a step raises.
        ratio: Bytes that plain autograd keeps / bytes kept.
        coverage: Percentage of the float bytes saved that are in a code or rebuilt.
        worst: The largest noise of a single parameter.
        parameter: Its name.
        date: When.
    """

    network: str
    family: str
    width: int
    bits: int
    noise: float
    ratio: float
    coverage: float
    worst: float
    parameter: str
    date: str

    @property
    def above(self) -> bool:
        """Whether the noise is above the bound of its bits."""
        return not self.noise <= BOUNDS[self.bits]


def figures(folder: Path) -> list[Figure]:
    """The newest figure of each architecture, width and bits.

    Args:
        folder: Where ``zoo.csv`` is.
    """
    newest: dict[tuple[str, int, int], Figure] = {}
    for row in _rows(folder / "zoo.csv"):
        config = json.loads(row["config"])
        name, width, bits = config["network"], config["width"], config["bits"]
        figure = [config[column] for column in ("ratio", "coverage", "worst", "parameter")]
        newest[name, width, bits] = Figure(name, config["family"], width, bits, float(row["p50"]), *figure, row["date"])
    return list(newest.values())


def reasons(folder: Path, found: Iterable[Figure]) -> dict[tuple[str, int, str], str]:
    """Why there is no figure, or an infinite one, by network, width and way, as far as nothing newer says otherwise.

    Args:
        folder: Where ``zoo_reasons.csv`` is.
        found: All figures.
    """
    dates: dict[tuple[str, int], str] = {}
    for each in found:
        dates[each.network, each.width] = max(each.date, dates.get((each.network, each.width), ""))
    why: dict[tuple[str, int, str], str] = {}
    for row in _rows(folder / "zoo_reasons.csv"):
        config = json.loads(row["config"])
        name, width = config["network"], config["width"]
        if row["date"] >= dates.get((name, width), ""):
            why[name, width, row["way"]] = config["reason"]
    return why


def table(folder: Path) -> str:
    """The families, what lies above the bounds, and what was left out.

    Args:
        folder: Where the rows are.
    """
    found = figures(folder)
    why = reasons(folder, found)
    parts = [_families(found), _above(found, why), _left_out(why)]
    return "\n\n".join(parts)


def _families(found: list[Figure]) -> str:
    columns = ["family", "architectures", "within bounds"]
    for bits in BOUNDS:
        columns += [f"noise at {bits} bits, median", "largest"]
    lines = [f"| {' | '.join([*columns, 'ratio at 4 bits'])} |", "|---|" + "---|" * len(columns)]
    names = sorted({each.family for each in found})
    for name, members in [*((name, [each for each in found if each.family == name]) for name in names), ("all", found)]:
        networks = {each.network for each in members}
        bad = {each.network for each in members if each.above}
        cells = [name, str(len(networks)), str(len(networks - bad))]
        for bits in BOUNDS:
            noise = [each.noise for each in members if each.bits == bits]
            cells += [f"{median(noise):.1e}", f"{max(noise):.1e}"] if noise else ["", ""]
        ratio = [each.ratio for each in members if each.bits == 4 and each.ratio]
        cells.append(f"{median(ratio):.1f}" if ratio else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _above(found: list[Figure], why: Mapping[tuple[str, int, str], str]) -> str:
    bad = sorted((each for each in found if each.above), key=lambda each: (each.family, each.network, -each.noise))
    if not bad:
        return "No architecture is above the bounds."
    names = len({each.network for each in bad})
    lines = [f"{names} architectures are above the bounds:", ""]
    lines += ["| family | architecture | width | bits | noise | coverage | worst parameter | raised |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for each in bad:
        reason = why.get((each.network, each.width, f"{each.bits} bits"), "")[:100].replace("|", "/")
        cells = [each.family, each.network, str(each.width), str(each.bits), f"{each.noise:.1e}"]
        worst = f"{each.parameter}: {each.worst:.1e}" if each.parameter else ""
        lines.append(f"| {' | '.join([*cells, f'{each.coverage:.1f} %', worst, reason])} |")
    return "\n".join(lines)


def _left_out(why: Mapping[tuple[str, int, str], str]) -> str:
    left = {name: reason for (name, _, way), reason in why.items() if way == "left out"}
    kinds = Counter(re.split(r"[:,]", reason)[0] for reason in left.values())
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"{len(left)} architectures have no figure at one width or both" + (f": {said}." if said else ".")


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    print(table(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "benchmarks" / "results"))

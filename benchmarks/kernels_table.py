"""Tables and picture of ``docs/kernels.md`` from the rows of the codec and peers cases.

``python benchmarks/kernels_table.py`` prints the tables; with a path as argument it writes the picture there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.rows import read  # noqa: E402 - found by the line above

WIDTHS = range(1, 9)
DTYPES = ("float32", "bfloat16", "float16")
SIZES = ("64 MiB", "4 MiB", "256 KiB")
WAYS = {
    "quantize, stochastic": ("quantize", {"rounding": "stochastic"}),
    "quantize, dithered": ("quantize", {"rounding": "dithered"}),
    "dequantize_into": ("dequantize_into", {}),
}
PEERS = ("bitsandbytes 8 bits", "bitsandbytes 4 bits", "compiled torch", "plain torch")

Facts = dict[str, Any]


def rows(case: str, instruction_set: str = "avx512") -> list[Facts]:
    """Rows of a case with two threads, codes in memory used before; their configuration read."""
    found = []
    for row in read(ROOT / "benchmarks" / "results" / f"{case}.csv"):
        machine, config = json.loads(row["machine"]), json.loads(row["config"])
        usual = not {"allocator", "arena_mib"} & config.keys() and machine["threads"] == 2
        if usual and machine["instruction_set"] == instruction_set:
            found.append({**row, "config": config})
    return found


def find(among: list[Facts], way: str, metric: str, config: Mapping[str, Any]) -> Facts:
    """The last row of that way and metric whose configuration contains the one given."""
    matches = [
        row
        for row in among
        if row["way"] == way and row["metric"] == metric and config.items() <= row["config"].items()
    ]
    if not matches:
        raise LookupError(f"no row of {way}, {metric}, {dict(config)}. Run the case first: see docs/kernels.md.")
    return matches[-1]


def limits(dtype: str, instruction_set: str = "avx512") -> list[str]:
    """Per width: the limit, and what each way takes, as ratios to the copy."""
    among = rows("codec", instruction_set)
    base = {"size": "64 MiB", "dtype": dtype}
    lines = [f"| {dtype}, {instruction_set} | {' | '.join(map(str, WIDTHS))} |", "|---|" + "---|" * len(WIDTHS)]

    def line(name: str, cell: Callable[[int], str]) -> None:
        lines.append(f"| {name} | " + " | ".join(map(cell, WIDTHS)) + " |")

    def limit(bits: int) -> str:
        row = find(among, "dequantize_into", "ratio_to_copy", {**base, "bits": bits})
        return f"{row['config']['limit']:.2f}"

    line("limit", limit)
    for name, (way, config) in WAYS.items():

        def cell(bits: int, way: str = way, config: Facts = config) -> str:
            return f"{float(find(among, way, 'ratio_to_copy', {**base, **config, 'bits': bits})['p50']):.2f}"

        line(name, cell)
    return lines


def sizes(dtype: str = "float32", bits: int = 4) -> list[str]:
    """Per size: GB/s that each way reads and writes, and its time per byte of the tensor."""
    among = rows("codec")
    lines = [f"| {dtype}, {bits} bits | {' | '.join(SIZES)} |", "|---|" + "---|" * len(SIZES)]
    for name, (way, config) in {"copy": ("copy", {}), **WAYS}.items():
        cells = []
        for size in SIZES:
            wanted = {"size": size, "dtype": dtype, **config, **({} if way == "copy" else {"bits": bits})}
            row = find(among, way, "gbps", wanted)
            rate = float(row["p50"])
            moved = 2 * row["config"].get("limit", 1.0)
            cells.append(f"{rate:.1f} GB/s, {1000 * moved / rate:.0f} ps/byte")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def picture(path: Path) -> None:
    """Left, ratios to a copy by width; right, how many times as long the others take to quantize."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    among = rows("codec")
    for dtype, color in zip(DTYPES[:2], ("#1f77b4", "#d62728"), strict=True):
        for way, config, style in (("quantize", {"rounding": "stochastic"}, "o-"), ("dequantize_into", {}, "s--")):
            wanted = {"size": "64 MiB", "dtype": dtype, **config}
            found = [find(among, way, "ratio_to_copy", {**wanted, "bits": bits}) for bits in WIDTHS]
            left.plot(WIDTHS, [float(row["p50"]) for row in found], style, color=color, label=f"{way}, {dtype}")
        left.plot(WIDTHS, [row["config"]["limit"] for row in found], ":", color=color, label=f"limit, {dtype}")
    left.set(title="64 MiB, 2 threads: time as ratio to a copy", xlabel="bits", ylabel="ratio", ylim=(0, None))
    left.legend(frameon=False, fontsize=8, ncols=2)
    _peers(right)
    figure.savefig(path, dpi=110)


def _peers(axes: Any) -> None:
    among = rows("peers")
    bars = {}
    for peer in PEERS:
        for bits in (8, 4):
            found = [row for row in among if row["way"] == peer and row["config"].get("bits") == bits]
            if any(row["metric"] == "quantize_ratio_to_gact" for row in found):
                row = find(found, peer, "quantize_ratio_to_gact", {"size": "64 MiB"})
                bars[f"{peer.removesuffix(f' {bits} bits')}, {bits} bits"] = float(row["p50"])
    drawn = axes.barh(list(bars), list(bars.values()), color="#7f7f7f")
    axes.bar_label(drawn, fmt=" %.1f", fontsize=8)
    axes.axvline(1, color="#1f77b4", linewidth=1)
    axes.set(title="quantize: times as long as gact", xscale="log", xlim=(0.8, 4 * max(bars.values())))


if __name__ == "__main__":
    if sys.argv[1:]:
        picture(Path(sys.argv[1]))
    else:
        for dtype in DTYPES:
            print("\n".join(limits(dtype)), end="\n\n")
        for dtype in DTYPES[:2]:
            print("\n".join(limits(dtype, "avx2")), end="\n\n")
        for dtype in DTYPES[:2]:
            print("\n".join(sizes(dtype)), end="\n\n")

"""The results as one table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.table import Table

from .results import NetworkResult, Settings, WayResult, way_name


def table(results: Sequence[NetworkResult]) -> Table:
    """Per network and way: bytes kept, ratio, peak, step time, accuracy."""
    made = Table(title="gact demo: handwritten digits, trained plainly and with compressed activations")
    made.add_column("network")
    made.add_column("way")
    for name in ("kept MiB", "ratio", "peak MiB", "step time", "test accuracy"):
        made.add_column(name, justify="right")
    for result in results:
        for way in result.ways:
            made.add_row(result.name if way.bits is None else "", *cells(way), end_section=way is result.ways[-1])
    return made


def cells(way: WayResult) -> tuple[str, ...]:
    """A way's row as text, the network left out."""
    return (
        way_name(way.bits),
        f"{way.kept_bytes / 2**20:.2f}",
        f"{way.ratio:.1f}x",
        f"{way.timeline.peak / 2**20:.2f}",
        f"{way.step_ratio:.2f}x",
        accuracy([training.accuracy for training in way.trainings]),
    )


def accuracy(shares: Sequence[float]) -> str:
    """Mean and, of more than one, standard deviation in percent."""
    mean = f"{100 * statistics.mean(shares):.1f} %"
    return mean if len(shares) < 2 else f"{mean} ± {100 * statistics.stdev(shares):.1f}"


def explanation(settings: Settings) -> str:
    """What the columns are, in the words of what was measured."""
    seeds = "one seed" if settings.seeds == 1 else f"mean and standard deviation of {settings.seeds} seeds"
    return (
        "kept       held by autograd for backward after forward: each storage once, metadata of\n"
        "           codes included, parameters left out; ratio: plain's bytes / this way's\n"
        "peak       most bytes of live tensors in one step, counted after every operation of\n"
        "           forward, backward and optimizer: parameters, gradients, optimizer state and\n"
        "           batch included; neither scratch memory inside an operation nor the process\n"
        "step time  median over the steps of this way's time / plain's on the same batch\n"
        f"accuracy   on held-out images, {seeds};\n"
        "           all ways had the same weights, batches and learning rates"
    )

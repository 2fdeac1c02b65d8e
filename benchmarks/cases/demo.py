"""The figures of ``gact demo``: bytes kept, peak, step time and accuracy on handwritten digits."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from gact.demo.results import NetworkResult, Settings, way_name
from gact.demo.run import run as run_demo
from gact.demo.table import table

from ..options import Options
from ..rows import Row, Spread

MIB = 2**20


def run(options: Options) -> Iterator[Row]:
    """What the demonstration prints, and the same as rows."""
    settings = options.pick(Settings(), Settings(seeds=1, epochs=1, widths=(4,)))
    results = run_demo(settings)
    Console(width=100).print(table(results))
    for network in results:
        yield from _rows(network, settings)


def _rows(network: NetworkResult, settings: Settings) -> Iterator[Row]:
    config = {"network": network.name, "seeds": settings.seeds, "epochs": settings.epochs, "batch": settings.batch_size}
    for way in network.ways:
        name = way_name(way.bits)
        yield Row(name, "kept_mib", Spread.exact(way.kept_bytes / MIB), config)
        yield Row(name, "plain_to_kept", Spread.exact(way.ratio), config)
        yield Row(name, "peak_live_mib", Spread.exact(way.timeline.peak / MIB), config)
        yield Row(name, "step_time_to_plain", Spread.exact(way.step_ratio), config)
        yield Row(name, "test_accuracy", Spread.of(training.accuracy for training in way.trainings), config)

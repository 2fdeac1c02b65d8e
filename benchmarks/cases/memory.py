"""Live and resident peaks of each phase of a step, plain and compressed, with memory from several allocators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..memory_steps import WAYS_OF_MEMORY, Taken, train_apart
from ..options import Options
from ..rows import Row, Spread

NETWORKS = ("bert", "resnet50")
WIDTHS = (None, 4, 2)
STEPS = 8
LIVE = "gact"
"""Live tensors are the same whatever allocates them, so their rows come from one of the ways."""


def run(options: Options) -> Iterator[Row]:
    """Each training is a process of its own; resident figures are above the process before its first step."""
    for network in options.pick(NETWORKS, ("bert",)):
        for bits in options.pick(WIDTHS, (None, 4)):
            for memory in options.pick(tuple(WAYS_OF_MEMORY), (LIVE,)):
                config = {"network": network, "bits": bits, "memory": memory, "optimizer": "AdamW"}
                if options.wants(config):
                    taken = train_apart(network, bits, memory, options.pick(STEPS, 1), options.quick)
                    yield from _rows(taken, "plain" if bits is None else f"{bits} bits", config)


def _rows(taken: Taken, way: str, config: dict[str, Any]) -> Iterator[Row]:
    config = {**config, "batch": taken.batch}
    if config["memory"] == LIVE:
        without = {name: value for name, value in config.items() if name != "memory"}
        for phase, size in taken.live.items():
            yield Row(way, "live_peak_mib", Spread.exact(size), {**without, "phase": phase})
        if taken.kept is not None:
            yield Row(way, "kept_mib", Spread.exact(taken.kept), without)
    for phase, size in taken.resident.items():
        yield Row(way, "resident_peak_mib", Spread.exact(size), {**config, "phase": phase})
    if taken.resident:
        yield Row(way, "resident_peak_mib", Spread.exact(max(taken.resident.values())), {**config, "phase": "all"})
    yield Row(way, "page_faults", Spread.of(taken.faults), config)
    yield Row(way, "seconds", Spread.of(taken.seconds), config)

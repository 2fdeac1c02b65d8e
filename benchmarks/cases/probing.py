"""What measuring sensitivities costs: backward passes, time over an interval, and peak memory of its step."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from ..options import Options
from ..probing import LENGTH, train_apart
from ..rows import Row, Spread

INTERVAL = 1000
STEPS = 6


def run(options: Options) -> Iterator[Row]:
    """A BERT of BERT-large's shape; each training in a process of its own, the resident peak above its start."""
    shape, batch = options.pick(("bert-large", 4), ("tiny", 2))
    config = {"network": shape, "batch": batch, "length": LENGTH}
    if not options.wants(config):
        return
    fixed = train_apart(shape, batch, 2, {"bits": 8, "adaptive": False})
    yield Row("8 bits", "resident_peak_mib", Spread.exact(fixed.peak_mib), config)
    measured = train_apart(shape, batch, STEPS, {"bits": 4, "probe_interval": INTERVAL})
    ordinary = statistics.median(measured.seconds[2:])
    extra = measured.seconds[1] - ordinary
    yield Row("measuring step", "resident_peak_mib", Spread.exact(measured.peak_mib), config)
    yield Row("measuring step", "peak_ratio_to_8_bits", Spread.exact(measured.peak_mib / fixed.peak_mib), config)
    yield Row("measuring step", "backward_passes", Spread.exact(measured.passes), config)
    yield Row("measuring step", "extra_steps_of_time", Spread.exact(extra / ordinary), config)
    share = 100 * extra / ordinary / INTERVAL
    yield Row("measuring step", "percent_of_training_time", Spread.exact(share), {**config, "probe_interval": INTERVAL})

"""Time of a step of small networks, compressed against plain, where the machinery around the kernels is seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import gact

from ..networks import Built
from ..options import Options
from ..rows import Row, Spread
from ..small import SMALL, build_small
from ..timing import take_turns

ROUNDS = 25
LEAST_SECONDS = 0.1
MIB = 2**20
MIN_BYTES = {"gru_128x2": 4096}
"""Where the default leaves most tensors alone."""


def run(options: Options) -> Iterator[Row]:
    """Forward and backward, plain and compressed, take turns on one model; both have gact's allocator."""
    for name in SMALL:
        config = {"network": name, "bits": 4, "adaptive": False}
        if options.wants(config):
            yield from _network(name, config, options)


def _network(name: str, config: dict[str, object], options: Options) -> Iterator[Row]:
    built = build_small(name, tiny=options.quick)
    least = {"min_bytes": MIN_BYTES[name]} if name in MIN_BYTES else {}
    compressor = gact.Compressor(built.model, bits=4, adaptive=False, **least)  # type: ignore[arg-type]
    gact.use_allocator(True)
    ways = {"plain": _step(built, None), "compressed": _step(built, compressor)}
    samples = take_turns(ways, options.pick(ROUNDS, 1), options.pick(LEAST_SECONDS, 0.0), warm_up=5)
    config = {**config, **least}
    report = compressor.report()
    yield Row("plain", "ms", samples.time("plain", 1e-3), config)
    yield Row("compressed", "ratio_to_plain", samples.ratio("compressed", "plain"), config)
    yield Row("compressed", "saves", Spread.exact(sum(row.count for row in report.rows)), config)
    yield Row("compressed", "plain_mib", Spread.exact(report.plain_bytes / MIB), config)
    yield Row("compressed", "kept_mib", Spread.exact(report.kept_bytes / MIB), config)


def _step(built: Built, compressor: gact.Compressor | None) -> Callable[[], None]:
    def step() -> None:
        with compressor or contextlib.nullcontext():
            loss = built.loss()
        loss.backward()
        built.model.zero_grad(set_to_none=True)

    return step

"""Largest batch that trains within a limit of resident memory, found by trying, and throughput up to it, by level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.options import Options
from benchmarks.rows import Row, Spread
from gact.checks import check_memory
from gact.levels import LEVELS
from gact.planning.trials import max_batch
from gact.planning.trials.search import Attempt, attempt
from gact.planning.trials.trial import Trial

FULL = (("bert_large", "3340 MiB"), ("resnet50", "8 GiB"))
_QUICK = (("small", "4 GiB"),)
_WITHOUT = {("resnet50", "CB2"), ("small", "CB2")}
"""Networks that have no attention to exchange."""

_PART = 4


def run(options: Options) -> Iterator[Row]:
    """Rows of the part ``throughput`` are of attempts that finished, the largest batch and those tried on the way."""
    for network, limit in _QUICK if options.quick else FULL:
        for level in LEVELS:
            config = {"network": network, "level": level, "limit": limit, "bits": 4, "optimizer": "sgd"}
            if not options.wants(config) or (network, level) in _WITHOUT:
                continue
            most = options.pick(65536, 1)
            factory = f"benchmarks.cases._factories:{network}"
            found = max_batch(factory, limit, level, optimizer="sgd", most=most, tell=_tell)
            yield Row(level, "largest_batch", Spread.exact(found.batch), config)
            yield Row(level, "resident_mib", Spread.exact(found.peak_bytes / 2**20), config)
            if found.seconds:
                yield Row(level, "samples_per_s", Spread.exact(found.batch / found.seconds), config)
            yield from _throughput(level, (*found.attempts, *_between(factory, level, limit, found.batch)), config)


def _tell(attempt: Attempt) -> None:
    print(f"    batch {attempt.batch}: {attempt.peak_bytes >> 20} MiB, {attempt.seconds:.1f} s", flush=True)


def _between(factory: str, level: str, limit: str, largest: int) -> tuple[Attempt, ...]:
    """An attempt at a part of the largest batch, for the picture."""
    if largest < 2 * _PART:
        return ()
    return (attempt(Trial(factory, level, largest // _PART, optimizer="sgd"), check_memory(limit) or 0),)


def _throughput(level: str, attempts: tuple[Attempt, ...], config: dict[str, Any]) -> Iterator[Row]:
    finished = {each.batch: each for each in attempts if each.fits}
    for each in sorted(finished.values(), key=lambda each: each.batch):
        speed = Spread.exact(each.batch / each.seconds)
        yield Row(level, "samples_per_s", speed, {**config, "batch": each.batch}, "throughput")

"""Largest batch that trains within a limit of resident memory, found by trying, for each level."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.options import Options
from benchmarks.rows import Row, Spread
from gact.maxbatch import max_batch
from gact.maxbatch.search import AVAILABLE

_FULL = (("bert", "2 GiB"), ("resnet50", "2 GiB"))
_QUICK = (("tiny_bert", "4 GiB"),)


def run(options: Options) -> Iterator[Row]:
    for network, limit in _QUICK if options.quick else _FULL:
        largest = 1
        for level in AVAILABLE:
            config = {"network": network, "level": level, "limit": limit, "bits": 4}
            if not options.wants(config):
                continue
            # Every level takes at least what plain training takes, so the search begins there.
            first, most = options.pick((largest, 65536), (2, 2))
            found = max_batch(f"benchmarks.cases._factories:{network}", limit, level, start=first, most=most)
            largest = max(largest, found.batch)
            yield Row(level, "largest_batch", Spread.exact(found.batch), config)
            yield Row(level, "resident_mib", Spread.exact(found.peak_bytes / 2**20), config)
            if found.seconds:
                yield Row(level, "samples_per_s", Spread.exact(found.batch / found.seconds), config)

"""Bytes kept, share of bytes covered and noise of the gradient on networks of many kinds."""

from __future__ import annotations

from collections.abc import Iterator

import gact

from ..architectures import ARCHITECTURES, build_architecture
from ..gradients import exact_gradient, measure
from ..kept import plain_bytes
from ..options import Options
from ..rows import Row, Spread

MIB = 2**20
GRADIENTS = 4
WIDTHS = (8, 4, 2)


def run(options: Options) -> Iterator[Row]:
    """Noise is |g - g0|^2 / |g0|^2 with g0 of plain autograd; coverage is in percent of the float bytes saved."""
    count = options.pick(GRADIENTS, 1)
    for name in ARCHITECTURES:
        if not options.wants({"network": name}):
            continue
        built = build_architecture(name, tiny=options.quick)
        exact = exact_gradient(built)
        yield Row("plain", "kept_mib", Spread.exact(plain_bytes(built) / MIB), {"network": name, "batch": built.batch})
        for bits in options.pick(WIDTHS, (4,)):
            config = {"network": name, "batch": built.batch, "bits": bits}
            if options.wants(config):
                compressor = gact.Compressor(built.model, bits=bits, adaptive=False, **built.settings)
                found = measure(built, compressor, exact, count)
                way = f"{bits} bits"
                yield Row(way, "kept_mib", Spread.exact(found.kept_bytes / MIB), config)
                yield Row(way, "coverage", Spread.exact(found.coverage), config)
                yield Row(way, "noise", Spread.of(found.noise), {**config, "gradients": count})

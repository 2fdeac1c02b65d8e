"""Bytes kept for backward and the noise that compression adds to the gradient, on three networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

import gact

from ..gradients import exact_gradient, measure
from ..kept import plain_bytes
from ..networks import NETWORKS, Built, build
from ..options import Options
from ..rows import Row, Spread

MIB = 2**20
GRADIENTS = 4

WIDTHS = (8, 4, 2)
AUTOMATIC = (4, 3, 2)


def run(options: Options) -> Iterator[Row]:
    """Noise is |g - g0|^2 / |g0|^2 with g0 of plain autograd: relative variance plus squared bias."""
    for name in options.pick(tuple(NETWORKS), ("bert",)):
        config = {"network": name}
        if not options.wants(config):
            continue
        built = build(name, tiny=options.quick)
        exact = exact_gradient(built)
        yield Row("plain", "kept_mib", Spread.exact(plain_bytes(built) / MIB), config)
        for chosen in filter(options.wants, _settings(options)):
            yield from _compressed(built, exact, {**config, **chosen}, options)


def _settings(options: Options) -> list[dict[str, Any]]:
    """Arguments of ``gact.Compressor``."""
    widths = options.pick(WIDTHS, (4,))
    uniform = [{"bits": bits, "adaptive": False, "derive": derive} for derive in (True, False) for bits in widths]
    automatic = [{"bits": bits, "adaptive": True, "derive": True} for bits in options.pick(AUTOMATIC, (4,))]
    return uniform + automatic


def _compressed(built: Built, exact: Tensor, config: dict[str, Any], options: Options) -> Iterator[Row]:
    arguments = {name: value for name, value in config.items() if name != "network"}
    way = f"{'automatic ' * config['adaptive']}{config['bits']} bits" + ("" if config["derive"] else ", derive=False")
    count = options.pick(GRADIENTS, 1)
    compressor = gact.Compressor(built.model, **arguments)
    found = measure(built, compressor, exact, count)
    report = compressor.report()
    yield Row(way, "kept_mib", Spread.exact(found.kept_bytes / MIB), config)
    if report.noise is not None:
        yield Row(way, "measuring_passes", Spread.exact(report.passes), config)
        yield Row(way, "predicted_noise", Spread.exact(report.noise), config)
    yield Row(way, "noise", Spread.of(found.noise), {**config, "gradients": count})
    yield Row(way, "cosine", Spread.of(found.cosine), {**config, "gradients": count})

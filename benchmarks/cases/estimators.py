"""Widths from sensitivities measured in groups against one site at a time (Algorithm 1 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gact

from ..architectures import build_architecture
from ..gradients import exact_gradient, measure
from ..networks import Built, build
from ..options import Options
from ..rows import Row, Spread

LARGE = ("bert", "resnet50", "swin_t")
OTHERS = ("llama", "unet", "t5")
ESTIMATORS = ("grouped", "exhaustive")
GRADIENTS = 4
BITS = 4


def run(options: Options) -> Iterator[Row]:
    """Noise of the gradient with the widths of each estimator, what it predicted, and the passes it took."""
    for name in options.pick(LARGE + OTHERS, ("bert",)):
        if options.wants({"network": name}):
            yield from _network(name, options)


def _network(name: str, options: Options) -> Iterator[Row]:
    built: Built = (build if name in LARGE else build_architecture)(name, tiny=options.quick)
    exact = exact_gradient(built)
    count, noise = options.pick(GRADIENTS, 1), {}
    for estimator in ESTIMATORS:
        config: dict[str, Any] = {"network": name, "batch": built.batch, "bits": BITS}
        compressor = gact.Compressor(built.model, bits=BITS, estimator=estimator)
        found = measure(built, compressor, exact, count)
        report = compressor.report()
        noise[estimator] = Spread.of(found.noise)
        yield Row(estimator, "measuring_passes", Spread.exact(report.passes), config)
        if report.noise is not None:
            yield Row(estimator, "predicted_noise", Spread.exact(report.noise), config)
        yield Row(estimator, "noise", noise[estimator], {**config, "gradients": count})
    ratio = noise["grouped"].p50 / noise["exhaustive"].p50
    yield Row("grouped", "noise_ratio_to_exhaustive", Spread.exact(ratio), {"network": name, "bits": BITS})

"""Variance at equal bytes of everything tried for better codes of 1 to 4 bits, on real activations."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..activations import saved_activations
from ..options import Options
from ..rows import Row, Spread
from ..schemes import BASELINE, SCHEMES
from ..variance import Outcome, Sample

NETWORKS = ("bert", "swin_t", "minilm", "efficientnet")
"""The first two have random weights, the others real ones (``smollm2`` too, where there are hours for it)."""
WIDTHS = (1, 2, 3, 4)
ELEMENTS = 2**20


def run(options: Options) -> Iterator[Row]:
    """Ratios to evenly spaced levels between minimum and maximum of groups of 256 at the same bits per element.

    A figure's quantiles are over tensors. ``total`` is the ratio of sums over tensors, each divided by its mean square.
    """
    for network in options.pick(NETWORKS, ("swin_t",)):
        if not options.wants({"network": network}):
            continue
        found = saved_activations(network, tiny=options.quick)
        samples = [Sample(one.values, options.pick(ELEMENTS, 2**12)) for one in found[: options.pick(None, 4)]]
        samples = [sample for sample in samples if BASELINE(sample, 8).variance > 0]
        baselines = [Baseline(sample) for sample in samples]
        for name, bits in ((name, bits) for name in SCHEMES for bits in options.pick(WIDTHS, (2,))):
            config = {"network": network, "bits": bits}
            if options.wants({"way": name, **config}):
                outcomes = [SCHEMES[name](sample, bits) for sample in samples]
                yield from _rows(name, baselines, outcomes, {**config, "tensors": len(samples)})


class Baseline:
    """Variance of the plain code of one tensor at any number of bits per element.

    Args:
        sample: The tensor.
    """

    def __init__(self, sample: Sample) -> None:
        self.energy = float(sample.flat.square().mean())
        self._known = [BASELINE(sample, bits) for bits in range(1, 9)]

    def at(self, bits: float) -> float:
        """Variance at so many bits, metadata included, between whole widths along a line in its logarithm."""
        place = bits - self._known[0].bits
        below = min(max(math.floor(place), 0), len(self._known) - 2)
        low, high = (math.log(self._known[below + i].variance) for i in (0, 1))
        return math.exp(low + (high - low) * (place - below))


def _rows(name: str, baselines: list[Baseline], outcomes: list[Outcome], config: dict[str, object]) -> Iterator[Row]:
    plain = [baseline.at(outcome.bits) for baseline, outcome in zip(baselines, outcomes, strict=True)]
    ratios = [outcome.variance / base for outcome, base in zip(outcomes, plain, strict=True)]
    energies = [baseline.energy for baseline in baselines]
    # Sums at the scheme's bytes, so that a tensor with a large relative variance weighs more than one with a small one.
    ours = sum(outcome.variance / energy for outcome, energy in zip(outcomes, energies, strict=True))
    theirs = sum(base / energy for base, energy in zip(plain, energies, strict=True))
    config = {**config, "bits_per_element": round(sum(outcome.bits for outcome in outcomes) / len(outcomes), 4)}
    yield Row(name, "variance_ratio", Spread.of(ratios), config)
    yield Row(name, "variance_ratio_mean", Spread.exact(sum(ratios) / len(ratios)), config)
    yield Row(name, "variance_ratio_worst", Spread.exact(max(ratios)), config)
    yield Row(name, "variance_ratio_total", Spread.exact(ours / theirs), config)

"""Noise of the gradient on tiny models of every architecture of transformers that can be built."""

from __future__ import annotations

from collections.abc import Iterator

from ..options import Options
from ..rows import Row, Spread
from ..zoo.apart import measure_apart
from ..zoo.catalogue import architectures
from ..zoo.measuring import SEEDS, Found

WIDTHS = (256, 192)
BITS = (8, 4)
QUICK = ("bert", "llama", "vit")


def run(options: Options) -> Iterator[Row]:
    """Noise is the mean of |g - g0|^2 / |g0|^2 over seeds; rows of the part ``reasons`` say what has none and why."""
    for architecture in architectures():
        name = architecture.name
        wanted = name in QUICK if options.quick and "network" not in options.where else True
        if not wanted or not options.wants({"network": name, "task": architecture.task}):
            continue
        widths = [width for width in options.pick(WIDTHS, WIDTHS[:1]) if options.wants({"width": width})]
        bits = [each for each in BITS if options.wants({"bits": each})]
        for found in measure_apart(architecture, widths, bits):
            yield from _rows(name, architecture.class_name, found)


def _rows(name: str, class_name: str, found: Found) -> Iterator[Row]:
    config = {"network": name, "width": found.width}
    way = f"{found.bits} bits" if found.bits else "left out"
    if found.reason:
        reason = " ".join(found.reason.split())[:300]
        yield Row(way, "reason", Spread.exact(0), {**config, "class": class_name, "reason": reason}, part="reasons")
    if found.bits:
        known = {"family": found.family, "class": class_name, "loss": found.loss, "seeds": SEEDS}
        figures = {"ratio": round(found.ratio, 2), "coverage": round(found.coverage, 1)}
        figures |= {"worst": float(f"{found.worst:.3g}"), "parameter": found.parameter}
        yield Row(way, "noise", Spread.exact(found.noise), {**config, "bits": found.bits, **known, **figures})

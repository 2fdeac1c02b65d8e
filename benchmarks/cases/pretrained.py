"""Bytes kept for backward and the noise that compression adds to the gradient, on networks with real weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

import gact

from .. import networks
from ..gradients import take_step
from ..kept import plain_bytes
from ..networks import Built
from ..options import Options
from ..pretrained import PACKAGES, build
from ..rows import Row, Spread

MIB = 2**20
WARM_UP, GRADIENTS = 2, 4
_LEAST = 1e-30

UNIFORM: dict[str, Any] = {"bits": 4, "adaptive": False}
AUTOMATIC = (4, 3, 2)
MEMORY = {"minilm": "51 MiB", "efficientnet": "118 MiB", "smollm2": "94 MiB"}
"""What 4 bits took before anything was made again: the same bytes, spent on wider codes."""


def run(options: Options) -> Iterator[Row]:
    """Noise of the whole gradient, and geometric means of each parameter's own and of those of norms alone."""
    for name in options.pick(tuple(PACKAGES), ("minilm",)):
        config = {"network": name}
        if not options.wants(config):
            continue
        built = networks.build("bert", tiny=True) if options.quick else build(name)
        exact = _gradients(built, None)
        yield Row("plain", "kept_mib", Spread.exact(plain_bytes(built) / MIB), config)
        automatic = [{"bits": bits, "adaptive": True} for bits in options.pick(AUTOMATIC, (4,))]
        budget = {"memory": MEMORY[name], "adaptive": True}
        for chosen in filter(options.wants, [UNIFORM, *automatic, *options.pick([budget], [])]):
            yield from _compressed(built, exact, config, chosen, options)


def _compressed(
    built: Built, exact: Mapping[str, Tensor], config: dict[str, Any], chosen: dict[str, Any], options: Options
) -> Iterator[Row]:
    way = f"{'automatic ' * chosen['adaptive']}{chosen.get('memory') or '{bits} bits'.format(**chosen)}"
    count = options.pick(GRADIENTS, 1)
    compressor = gact.Compressor(built.model, **chosen)
    found: list[tuple[float, float, float]] = []
    for step in range(WARM_UP + count):
        gradients = _gradients(built, compressor)
        if step >= WARM_UP:
            found.append(_noise(gradients, exact))
    report, config = compressor.report(), {**config, **chosen}
    yield Row(way, "kept_mib", Spread.exact(report.kept_bytes / MIB), config)
    if report.noise is not None:
        yield Row(way, "predicted_noise", Spread.exact(report.noise), config)
    for metric, values in zip(("noise", "noise_by_parameter", "noise_of_norms"), zip(*found, strict=True), strict=True):
        yield Row(way, metric, Spread.of(list(values)), {**config, "gradients": count})


def _gradients(built: Built, compressor: gact.Compressor | None) -> dict[str, Tensor]:
    take_step(built, compressor)
    return {name: each.grad.double() for name, each in built.model.named_parameters() if each.grad is not None}


def _noise(gradients: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> tuple[float, float, float]:
    energy = {name: float(each.square().sum()) for name, each in exact.items()}
    off = {name: float((gradients[name] - each).square().sum()) for name, each in exact.items()}
    own = {name: max(off[name] / max(energy[name], _LEAST), _LEAST) for name in off}
    norms = [own[name] for name, each in exact.items() if each.dim() == 1 and name.endswith("weight")]
    return sum(off.values()) / sum(energy.values()), _geometric(list(own.values())), _geometric(norms)


def _geometric(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))

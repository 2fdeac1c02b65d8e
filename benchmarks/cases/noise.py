"""Bytes kept for backward and the noise that compression adds to the gradient, on three networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import gact

from ..kept import Reachable, plain_bytes
from ..networks import NETWORKS, Built, build
from ..options import Options
from ..rows import Row, Spread

MIB = 2**20
GRADIENTS = 4
WARM_UP = 2

WIDTHS = (8, 4, 2)
AUTOMATIC = (4, 3, 2)


def run(options: Options) -> Iterator[Row]:
    """Noise is |g - g0|^2 / |g0|^2 with g0 of plain autograd: relative variance plus squared bias."""
    for name in options.pick(tuple(NETWORKS), ("bert",)):
        config = {"network": name}
        if not options.wants(config):
            continue
        built = build(name, tiny=options.quick)
        exact = _exact_gradient(built)
        yield Row("plain", "kept_mib", Spread.exact(plain_bytes(built) / MIB), config)
        for chosen in filter(options.wants, _settings(options)):
            yield from _compressed(built, exact, {**config, **chosen}, options)


def _settings(options: Options) -> list[dict[str, Any]]:
    """Arguments of ``gact.Compressor``."""
    widths = options.pick(WIDTHS, (4,))
    uniform = [{"bits": bits, "adaptive": False, "derive": derive} for derive in (True, False) for bits in widths]
    automatic = [{"bits": bits, "adaptive": True, "derive": True} for bits in options.pick(AUTOMATIC, (4,))]
    return uniform + automatic


def _exact_gradient(built: Built) -> Tensor:
    built.model.zero_grad(set_to_none=True)
    built.loss().backward()
    gradient = built.gradient()
    built.model.zero_grad(set_to_none=True)
    return gradient


def _compressed(built: Built, exact: Tensor, config: dict[str, Any], options: Options) -> Iterator[Row]:
    arguments = {name: value for name, value in config.items() if name != "network"}
    way = f"{'automatic ' * config['adaptive']}{config['bits']} bits" + ("" if config["derive"] else ", derive=False")
    count = options.pick(GRADIENTS, 1)
    kept, noise, cosine = 0, [], []
    reachable = Reachable(built.model)
    compressor = gact.Compressor(built.model, **arguments)
    for step in range(WARM_UP + count):
        built.model.zero_grad(set_to_none=True)
        with compressor:
            loss = built.loss()
        if step == WARM_UP:
            kept = max(reachable.nbytes(), compressor.report().kept_bytes)
        compressor.backward(loss)
        if step >= WARM_UP:
            gradient = built.gradient()
            noise.append(float((gradient - exact).square().sum() / exact.square().sum()))
            cosine.append(float(torch.nn.functional.cosine_similarity(gradient, exact, dim=0)))
    built.model.zero_grad(set_to_none=True)
    report = compressor.report()
    yield Row(way, "kept_mib", Spread.exact(kept / MIB), config)
    if report.noise is not None:
        yield Row(way, "measuring_passes", Spread.exact(report.passes), config)
        yield Row(way, "predicted_noise", Spread.exact(report.noise), config)
    yield Row(way, "noise", Spread.of(noise), {**config, "gradients": count})
    yield Row(way, "cosine", Spread.of(cosine), {**config, "gradients": count})

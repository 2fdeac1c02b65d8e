"""Time of a training step, compressed against plain, on three networks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import product

import torch

import gact

from ..codec_calls import arena_config
from ..networks import NETWORKS, Built, build
from ..options import Options
from ..rows import Row
from ..timing import take_turns

ROUNDS = 9
WIDTHS = (8, 4, 2)


def run(options: Options) -> Iterator[Row]:
    """Forward, backward and plain SGD; plain and compressed steps of one model take turns."""
    for name in NETWORKS:
        if options.wants({"network": name}):
            yield from _network(name, options)


def _network(name: str, options: Options) -> Iterator[Row]:
    built = build(name, tiny=options.quick)
    optimizer = torch.optim.SGD(built.model.parameters(), lr=1e-4)
    ways: dict[str, Callable[[], None]] = {"plain": _step(built, optimizer, None)}
    configs = {}
    for bits, derive in product(options.pick(WIDTHS, (4,)), (True, False)):
        way = f"{bits} bits" + ("" if derive else ", derive=False")
        config = {"network": name, "batch": built.batch, "bits": bits, "adaptive": False, "derive": derive}
        config |= arena_config()
        if options.wants(config):
            configs[way] = config
            compressor = gact.Compressor(built.model, bits=bits, adaptive=False, derive=derive)
            ways[way] = _step(built, optimizer, compressor)
    samples = take_turns(ways, options.pick(ROUNDS, 1))
    yield Row("plain", "seconds", samples.time("plain"), {"network": name, "batch": built.batch})
    for way, config in configs.items():
        yield Row(way, "ratio_to_plain", samples.ratio(way, "plain"), config)


def _step(built: Built, optimizer: torch.optim.Optimizer, compressor: gact.Compressor | None) -> Callable[[], None]:
    def step() -> None:
        with compressor or contextlib.nullcontext():
            loss = built.loss()
        if compressor is None:
            loss.backward()
        else:
            compressor.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step

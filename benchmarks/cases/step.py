"""Time of a training step, compressed against plain, on three networks.

Plain training has the C library's memory, as it has without this package, and once more that of gact's allocator, as
compressed steps have: what the allocator gains is then apart from what compression costs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import product

import torch

import gact

from ..networks import NETWORKS, Built, build
from ..options import Options
from ..rows import Row
from ..timing import take_turns

ROUNDS = 9
WIDTHS = (8, 4, 2)
PLAIN = "plain"
PLAIN_HERE = "plain, gact allocator"


def run(options: Options) -> Iterator[Row]:
    """Forward, backward and plain SGD; plain and compressed steps of one model take turns."""
    for name in NETWORKS:
        if options.wants({"network": name}):
            yield from _network(name, options)


def _network(name: str, options: Options) -> Iterator[Row]:
    built = build(name, tiny=options.quick)
    optimizer = torch.optim.SGD(built.model.parameters(), lr=1e-4)
    ways: dict[str, Callable[[], None]] = {
        PLAIN: _step(built, optimizer, None, allocator=False),
        PLAIN_HERE: _step(built, optimizer, None, allocator=True),
    }
    configs = {}
    for bits, derive in product(options.pick(WIDTHS, (4,)), (True, False)):
        way = f"{bits} bits" + ("" if derive else ", derive=False")
        config = {"network": name, "batch": built.batch, "bits": bits, "adaptive": False, "derive": derive}
        if options.wants(config):
            configs[way] = config
            compressor = gact.Compressor(built.model, bits=bits, adaptive=False, derive=derive)
            ways[way] = _step(built, optimizer, compressor, allocator=True)
    samples = take_turns(ways, options.pick(ROUNDS, 1))
    size = {"network": name, "batch": built.batch}
    yield Row(PLAIN, "seconds", samples.time(PLAIN), size)
    yield Row(PLAIN_HERE, "ratio_to_plain", samples.ratio(PLAIN_HERE, PLAIN), size)
    for way, config in configs.items():
        yield Row(way, "ratio_to_plain", samples.ratio(way, PLAIN), config)
        yield Row(way, "ratio_to_plain_with_allocator", samples.ratio(way, PLAIN_HERE), config)


def _step(
    built: Built, optimizer: torch.optim.Optimizer, compressor: gact.Compressor | None, allocator: bool
) -> Callable[[], None]:
    def step() -> None:
        gact.use_allocator(allocator)
        with compressor or contextlib.nullcontext():
            loss = built.loss()
        if compressor is None:
            loss.backward()
        else:
            compressor.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step

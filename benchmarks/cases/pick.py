"""What to pick: peak of a step against its time, for the ways to train in less memory, on four networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

import gact

from ..allocations import step_allocations
from ..options import Options
from ..picking import PLAIN, SUBJECTS, Forward, compiled_ways, eager_ways
from ..rows import Row, Spread
from ..timing import take_turns

ROUNDS = 9
MIB = 2**20


def run(options: Options) -> Iterator[Row]:
    """All ways take turns with plain training on one model; what is compiled takes turns with it afterwards."""
    for name in options.pick(tuple(SUBJECTS), ("gcn",)):
        if options.wants({"network": name}):
            yield from _network(name, options)


def _network(name: str, options: Options) -> Iterator[Row]:
    subject = SUBJECTS[name]
    built = subject.make(options.quick)
    config = {"network": name, "batch": built.batch}
    gact.use_allocator(True)  # all ways have the same memory
    ways = eager_ways(built, subject)
    yield from _rows(ways, built.model, config, options)
    if not options.quick:
        for way, forward in compiled_ways(built):
            both = {PLAIN: built.loss, way: forward}
            yield from list(_rows(both, built.model, config, options))[-2:]
    torch._dynamo.reset()


def _rows(ways: dict[str, Forward], model: torch.nn.Module, config: dict[str, Any], options: Options) -> Iterator[Row]:
    steps = {way: _step(forward, model) for way, forward in ways.items()}
    samples = take_turns(steps, options.pick(ROUNDS, 1))  # its first turns are not counted: some ways measure there
    yield Row(PLAIN, "seconds", samples.time(PLAIN), config)
    for way, forward in ways.items():
        yield Row(way, "ratio_to_plain", samples.ratio(way, PLAIN), config)
        _, peak = step_allocations(forward)
        model.zero_grad(set_to_none=True)
        yield Row(way, "peak_mib", Spread.exact(peak / MIB), config)


def _step(forward: Forward, model: torch.nn.Module) -> Callable[[], None]:
    def step() -> None:
        forward().backward()
        model.zero_grad(set_to_none=True)

    return step

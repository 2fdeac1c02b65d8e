"""Training under torch.compile, compressed against plain: bytes held, peak, noise, time and graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

import gact

from ..allocations import step_allocations
from ..compiled_networks import NAMES, Case, make
from ..options import Options
from ..rows import Row, Spread
from ..timing import take_turns

WIDTHS = (8, 4)
SEEDS = 2
ROUNDS = 9
MIB = 2**20


def run(options: Options) -> Iterator[Row]:
    """One function for each network, by Inductor; all ways run on it in one process."""
    for name in options.pick(NAMES, ("images",)):
        config = {"network": name, "backend": options.pick("inductor", "aot_eager")}
        if options.wants(config):
            yield from _network(make(name, options.quick), config, options)


def _network(case: Case, config: dict[str, Any], options: Options) -> Iterator[Row]:
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(case.model, backend=config["backend"])
    loss, exact = _step(case, compiled, None)
    _, exact_eager = _step(case, case.model, None)
    graphs = counters["stats"]["unique_graphs"]
    yield Row("plain", "graphs", Spread.exact(graphs), config)
    held, peak = step_allocations(lambda: case.loss(compiled))
    yield from _memory("plain", held, peak, config)
    ways: dict[str, Callable[[], object]] = {"plain": lambda: _step(case, compiled, None)}
    for bits in options.pick(WIDTHS, (4,)):
        compressor, name = _compressor(case, bits), f"{bits} bits"
        found = [_step(case, compiled, _compressor(case, bits, seed)) for seed in range(SEEDS)]
        eager = [_step(case, case.model, _compressor(case, bits, seed))[1] for seed in range(SEEDS)]
        yield Row(name, "loss_differs", Spread.exact(float(any(each != loss for each, _ in found))), config)
        yield Row(name, "noise", Spread.of(_noise(each, exact) for _, each in found), config)
        yield Row(f"{name}, not compiled", "noise", Spread.of(_noise(each, exact_eager) for each in eager), config)
        _step(case, compiled, compressor)

        def forward(compressor: gact.Compressor = compressor) -> Tensor:
            with compressor:
                return case.loss(compiled)

        yield from _memory(name, *step_allocations(forward), config)
        report = compressor.report()
        yield Row(name, "coverage", Spread.exact(report.coverage), config)
        yield Row(name, "report_ratio", Spread.exact(report.ratio), config)
        ways[name] = lambda compressor=compressor: _step(case, compiled, compressor)
    yield Row("all widths", "graphs", Spread.exact(counters["stats"]["unique_graphs"] - graphs), config)
    samples = take_turns(ways, options.pick(ROUNDS, 1))
    yield Row("plain", "ms", samples.time("plain", 1e-3), config)
    for name in list(ways)[1:]:
        yield Row(name, "time_ratio_to_plain", samples.ratio(name, "plain"), config)


def _memory(way: str, held: int, peak: int, config: dict[str, Any]) -> Iterator[Row]:
    yield Row(way, "held_mib", Spread.exact(held / MIB), config)
    yield Row(way, "peak_mib", Spread.exact(peak / MIB), config)


def _compressor(case: Case, bits: int, seed: int = 0) -> gact.Compressor:
    return gact.Compressor(case.model, bits=bits, adaptive=False, seed=seed)


def _step(case: Case, run: nn.Module, compressor: gact.Compressor | None) -> tuple[float, Tensor]:
    """Loss and gradient of a step; every step draws the same masks of dropout."""
    torch.manual_seed(1)
    case.model.zero_grad(set_to_none=True)
    with compressor or contextlib.nullcontext():
        loss = case.loss(run)
    loss.backward()
    return loss.item(), torch.cat([each.grad.flatten() for each in case.model.parameters() if each.grad is not None])


def _noise(gradient: Tensor, exact: Tensor) -> float:
    return float((gradient - exact).square().sum() / exact.square().sum())

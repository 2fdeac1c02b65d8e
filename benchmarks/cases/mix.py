"""The planner's choice against every single technique that fits the same memory, and against ckptplan's plan."""

from __future__ import annotations

import contextlib
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import gact
from benchmarks.checkpoint_plans import ckptplan_blocks
from benchmarks.options import Options
from benchmarks.planned import Made, make
from benchmarks.rows import Row, Spread
from benchmarks.timing import take_turns
from gact.checkpoint.checkpointing import Checkpointing
from gact.memory import profile_step
from gact.planning import AppliedPlan, Plan, measure_costs
from gact.planning.subject import loss_of

NETWORKS = ("bert", "resnet50", "gpt2", "llama")
PARTS = (0.25, 0.5, 0.75)
"""Budgets: shares of the way from the least peak of any level to that of plain training."""
LEVELS = ("L0", "checkpointing", "L1", "L2", "CB1")
PEER = "ckptplan"
ROUNDS = 15


def run(options: Options) -> Iterator[Row]:
    """``planned_to_it`` is the time of the planner's choice by that of another way, in pairs; above 1 it is slower.

    Times are those of the processor, so run it with one thread: neighbours on the machine then hardly matter. What a
    way waits for a disk is not in them. All ways have the memory of gact's allocator, so that ways without codes pay no
    page faults that ways with codes are spared.
    """
    gact.use_allocator()
    for network in options.pick(NETWORKS, ("gpt2",)):
        for part in options.pick(PARTS, (0.5,)):
            config = {"network": network, "part": part}
            if options.wants(config):
                yield from _compared(make(network, options.quick), config, options)


def _compared(made: Made, config: dict[str, Any], options: Options) -> Iterator[Row]:
    model, inputs, _ = made
    with tempfile.TemporaryDirectory(prefix="gact-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan, budget = _plan(made, config["part"], scratch)
        ways = {
            each.name: plan.apply(model, each.name)
            for each in plan.levels
            if each.fits and each.name in LEVELS and each.name != plan.choice
        }
        if find_spec(PEER) is not None:
            blocks = ckptplan_blocks(made, budget)
            if blocks is not None:
                ways[PEER] = AppliedPlan(checkpointing=Checkpointing(model, blocks)) if blocks else AppliedPlan()
        steps = {name: _step(context, made) for name, context in {"planned": plan.apply(model), **ways}.items()}
        samples = take_turns(steps, options.pick(ROUNDS, 1), clock=time.process_time)
        config = {**config, "budget_mib": round(budget / 2**20, 1), "choice": plan.choice}
        for name, step in steps.items():
            model.zero_grad()
            peak = profile_step(step, model, [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)])
            yield Row(name, "peak_mib", Spread.exact(peak.peak_bytes / 2**20), config)
            yield Row(name, "cpu_ms", samples.time(name, 1e-3), config)
            if name != "planned":
                yield Row(name, "planned_to_it", samples.ratio("planned", name), config)


def _plan(made: Made, part: float, scratch: str) -> tuple[Plan, int]:
    """A plan for a share of the memory that plain training takes beyond the least."""
    options: dict[str, Any] = {"optimizer_bytes_per_parameter": 0, "sizes": (), "levels": LEVELS}
    free = gact.plan(*made, **options)
    least = min(level.peak_bytes for level in free.levels)
    budget = int(least + part * (free.level("L0").peak_bytes - least))
    costs = measure_costs(directory=scratch)
    return gact.plan(*made, memory=budget, offload=scratch, costs=costs, **options), budget


def _step(context: contextlib.AbstractContextManager[Any], made: Made) -> Callable[[], None]:
    model, inputs, loss_fn = made

    def step() -> None:
        with context:
            loss = loss_of(model, inputs, loss_fn)
        loss.backward()
        _forget(model)

    return step


def _forget(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = None

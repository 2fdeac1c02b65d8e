"""The blocks that the package ckptplan would checkpoint under a budget.

Its planner wants the activation bytes of every block, which it can only measure on a GPU, and the time that it takes to
run a block again. It gets both from here: the bytes from a census of the plain step, the time by a clock. Its budget
counts the activations of blocks alone; the largest is taken whose plan is predicted to fit the whole budget.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.planned import Made
from gact.checkpoint.blocks import find_blocks
from gact.planning.census import Census, take_census
from gact.planning.predict import Predictor, Way
from gact.planning.subject import Subject, loss_of

_STEPS = 5
_BUCKETS = 64


def ckptplan_blocks(made: Made, budget: int) -> tuple[str, ...] | None:
    """Names of the blocks, none if plain training fits; None if checkpointing all of them does not.

    Args:
        made: A network, its batch and its loss.
        budget: Bytes of a step: parameters, gradients, activations.
    """
    from ckptplan import declare_blocks, plan_checkpoints

    model, inputs, loss_fn = made
    predictor = Predictor(Subject(model, inputs, loss_fn))
    census = take_census(predictor, (4,))
    modules = find_blocks(model)
    blocks = declare_blocks(model, [(block.name, modules[block.name]) for block in census.blocks])
    profiles = _profiles(census, _forward_times(made))
    total = sum(block.plain for block in census.blocks)
    for part in range(_BUCKETS, -1, -1):
        try:
            plan = plan_checkpoints(
                profiles,
                blocks,
                target_kind="activation_budget_bytes",
                target_value=total * part // _BUCKETS,
                activation_bucket_bytes=max(total // 1024, 1),
            )
        except Exception:  # a budget that no plan meets
            return None
        names = tuple(each.block_id for each in plan.decisions if each.checkpointed)
        if predictor.run(Way(checkpoint=names or False)).peak <= budget:
            return names
    return None


def _profiles(census: Census, seconds: dict[str, float]) -> list[Any]:
    from ckptplan.types import BlockProfile

    return [
        BlockProfile(
            block_id=block.name,
            order=order,
            device="cpu",
            dtype=str(torch.float32),
            input_shape_signature="",
            output_shape_signature="",
            param_count=0,
            trainable_param_count=0,
            timing_only=False,
            activation_bytes_estimate=block.plain,
            activation_bytes_method="isolated_forward_delta",
            forward_time_ms_mean=1e3 * seconds[block.name],
            forward_time_ms_std=0.0,
            recompute_time_upper_bound_ms_mean=1e3 * seconds[block.name],
            recompute_time_upper_bound_ms_std=0.0,
            recompute_time_source="measured_full_recompute_early_stop_disabled",
            num_warmup=1,
            num_trials=_STEPS,
            is_stochastic=None,
            is_stateful=None,
            stochastic_submodules=(),
            stateful_submodules=(),
            eligible_for_checkpoint=True,
            exclusion_reason=None,
            warnings=(),
            pytorch_version=torch.__version__,
            profiler_version="",
        )
        for order, block in enumerate(census.blocks)
    ]


def _forward_times(made: Made) -> dict[str, float]:
    """Seconds of each block's forward, the shortest of some."""
    model, inputs, loss_fn = made
    best: dict[str, float] = {}
    for _ in range(_STEPS):
        taken: dict[str, float] = {}
        with _clocked(model, taken):
            loss_of(model, inputs, loss_fn)
        best = {name: min(seconds, best.get(name, seconds)) for name, seconds in taken.items()}
    return best


@contextmanager
def _clocked(model: torch.nn.Module, taken: dict[str, float]) -> Iterator[None]:
    starts: dict[str, float] = {}
    handles = []

    def begins(name: str) -> None:
        starts[name] = time.perf_counter()

    def ends(name: str) -> None:
        taken[name] = taken.get(name, 0.0) + time.perf_counter() - starts[name]

    for name, module in find_blocks(model).items():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: begins(name)))
        handles.append(module.register_forward_hook(lambda *_, name=name: ends(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

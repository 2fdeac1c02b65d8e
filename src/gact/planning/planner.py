"""Plans a model: predicts every level, looks for the largest sizes, and chooses."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from ..autograd.internals import DATA_DEPENDENT
from ..checks import check_bits, check_choice
from ..levels import LEVELS, Level, level_of
from .census import Census, take_census
from .costs import Costs, measure_costs
from .devices import budget_of
from .failures import is_users, users_traceback
from .mix import Mix, uniform
from .plan import MIX, LevelPlan, Plan
from .predict import Predictor, Run, Way, can_exchange_attention
from .scaling import largest
from .solve import again_seconds, plain_seconds, seconds_of, solve
from .subject import LossFunction, Subject

SIZES = ("batch", "sequence")
_GAIN = 0.985
"""A mix must be predicted to take less than this share of a level's time: predictions are no better than that."""


def plan(
    model: nn.Module,
    inputs: Any,
    loss_fn: LossFunction | None = None,
    *,
    memory: int | str | None = None,
    device: str | None = None,
    optimizer_bytes_per_parameter: float = 8.0,
    bits: int = 4,
    offload: str | None = None,
    sequence_dim: int | None = None,
    sizes: Sequence[str] = SIZES,
    levels: Sequence[str] | None = None,
    costs: Costs | None = None,
    hold_gradients: bool = False,
) -> Plan:
    """Predicts what training would take in every way, without running it: nothing of the model's size is allocated.

    Args:
        model: The network; its parameters may be on the meta device. It is not changed.
        inputs: A batch as the model takes it: a tensor, a tuple of positional or a mapping of keyword arguments.
            Values do not matter, sizes do.
        loss_fn: Called with the model and the inputs, returns the loss. None to run the model on the inputs and take
            its ``loss``.
        memory: Bytes that a step may take, a number or a text such as ``"8 GiB"``.
        device: ``"T4"``, ``"L4"``, ``"A100"`` (of 40 GB), ``"A100-80GB"`` or ``"H100"`` instead of ``memory``. Ops then
            save what they save on a GPU.
        optimizer_bytes_per_parameter: Optimizer state: 8 for Adam in float32, 4 for momentum, 0 for plain SGD.
        bits: Width of codes.
        offload: Directory to which codes may be moved, for the mix; None for no offloading.
        sequence_dim: Dimension of the sequence in the first tensor of ``inputs``; by default that of token ids.
        sizes: Which of the largest ``"batch"`` and the largest ``"sequence"`` to look for, which takes some ten
            predictions of each level.
        levels: Names of the levels to predict; all by default.
        costs: Speeds of the machine; measured here in about a second if a choice depends on them.
        hold_gradients: Whether gradients stay in memory from step to step, as where they are accumulated, lie in
            buckets, or are set to zero rather than freed. They then count at every moment of the step.

    Returns:
        Peaks, sizes and choice.

    Raises:
        TypeError: If ``model`` is no module.
        ValueError: If an argument is out of range, or the step cannot be run without data.
    """
    budget = budget_of(memory, device)
    check_bits(bits, whole=True)
    for size in sizes:
        check_choice("sizes", size, SIZES)
    chosen = [level_of(name) for name in levels] if levels is not None else list(LEVELS.values())
    on_cuda = torch.device("cuda") if device is not None and torch.cuda.is_available() else None
    subject = Subject(model, inputs, loss_fn, on_cuda, sequence_dim)
    predictor = Predictor(subject, device is not None and on_cuda is None, hold_gradients)
    state = sum(each.numel() for each in subject.model.parameters() if each.requires_grad)
    planner = _Planner(predictor, bits, int(state * optimizer_bytes_per_parameter), budget)
    planner.check()
    if budget is not None or costs is not None:
        planner.price(costs or measure_costs(directory=offload))
    found = [planner.level(level, sizes) for level in chosen if planner.why_not(level) is None]
    return replace(planner.choose(found, widths=tuple(sorted({bits, 8}))), offload=offload)


class _Planner:
    """The steps of planning.

    Args:
        predictor: Predicts steps.
        bits: Width of codes.
        extra: Bytes of the optimizer's state.
        budget: Bytes that a step may take.
    """

    def __init__(self, predictor: Predictor, bits: int, extra: int, budget: int | None) -> None:
        self._predictor = predictor
        self._bits = bits
        self._extra = extra
        self._budget = budget
        self._census: Census | None = None
        self._costs: Costs | None = None

    def check(self) -> None:
        """Runs the plain step once.

        Raises:
            ValueError: If it cannot be run without data.
        """
        try:
            self._predictor.run(Way())
        except DATA_DEPENDENT as error:
            raise ValueError(
                f"the step cannot be run without data: {type(error).__name__}: {error} A plan needs a forward whose "
                f"sizes do not depend on values (no .item(), no boolean indexing).\n{users_traceback(error)}"
            ) from error
        except Exception as error:
            if isinstance(error, ValueError) and not is_users(error):
                raise
            raise ValueError(
                f"the step failed on tensors that have sizes and no data:\n{users_traceback(error)}\nIf it runs with "
                "data, it needs values, and a plan cannot be made."
            ) from error

    def price(self, costs: Costs) -> None:
        """Has times predicted."""
        self._costs = costs
        self._census = take_census(self._predictor, tuple(sorted({self._bits, 8})))

    def why_not(self, level: Level) -> str | None:
        """Why a level does not exist for this model; None if it does."""
        if level.attention and not can_exchange_attention(self._predictor.subject.model):
            return "its attention has no switch, or is an efficient one already"
        if level.checkpoint:
            with contextlib.suppress(ValueError):
                self._peak(level)
                return None
            return "no repeated blocks"
        return None

    def _peak(self, level: Level, batch: int | None = None, length: int | None = None) -> int:
        run = self._predictor.run(Way.of(level, self._bits), batch, length)
        return _peak_of(run, level.offload) + self._extra

    def level(self, level: Level, sizes: Sequence[str]) -> LevelPlan:
        """What a level takes."""
        subject, budget = self._predictor.subject, self._budget
        peak = self._peak(level)
        found = LevelPlan(
            level.name,
            peak,
            None if budget is None else peak <= budget,
            self._seconds(level),
        )
        if budget is None:
            return found
        batch = sequence = None
        if "batch" in sizes:
            batch = largest(lambda size: self._peak(level, batch=size), subject.batch, budget, 1)
        if "sequence" in sizes and subject.length is not None:
            sequence = largest(lambda size: self._peak(level, length=size), subject.length, budget, 2)
        return replace(found, batch=batch, sequence=sequence)

    def _seconds(self, level: Level) -> float | None:
        """Time of a step at a level."""
        if self._census is None or self._costs is None or level.attention:
            return None
        if level.offload and not self._costs.write:
            return None
        added = seconds_of(self._uniform(level), self._census, self._costs)
        if level.compresses_again:
            added += again_seconds(self._census, self._costs, self._bits)
        return plain_seconds(self._census, self._costs) + added

    def _uniform(self, level: Level) -> Mix:
        assert self._census is not None
        names = tuple(block.name for block in self._census.blocks)
        rest = "quantize" if level.compress else "keep"
        of_blocks = "offload" if level.offload else "recompute" if level.checkpoint else rest
        return uniform(names, of_blocks, rest, self._bits if level.compress else 0)

    def choose(self, levels: list[LevelPlan], widths: tuple[int, ...]) -> Plan:
        """The plan, with the fastest way that fits."""
        subject, budget = self._predictor.subject, self._budget
        found = Plan(budget, subject.batch, subject.length, self._bits, self._extra, tuple(levels))
        if budget is None:
            return replace(found, note="no memory was given, so nothing is chosen.")
        if self._peak(LEVELS["L0"]) <= budget:
            return replace(found, choice="L0", note="plain training fits: there is nothing to do.")
        if find_spec("scipy") is None:
            mix, note = None, "no mix was looked for: pip install scipy (gact's extra 'plan')."
        else:
            mix, note = self._mix(budget, widths), ""
        usable = [each for each in levels if each.fits and each.seconds is not None]
        best = min(usable, key=lambda each: each.seconds or 0.0, default=None)
        assert self._census is not None
        assert self._costs is not None
        if mix is not None:
            seconds = plain_seconds(self._census, self._costs) + mix.seconds
            if best is None or best.seconds is None or seconds < _GAIN * best.seconds:
                mix = replace(mix, peak=mix.peak + self._extra)
                levels = [*levels, LevelPlan(MIX, mix.peak, True, seconds)]
                return replace(found, levels=tuple(levels), choice=MIX, mix=mix, note=note)
        if best is None:
            return replace(found, note=note or "nothing fits at this batch size.")
        return replace(found, choice=best.name, note=note)

    def _mix(self, budget: int, widths: tuple[int, ...]) -> Mix | None:
        assert self._census is not None
        assert self._costs is not None

        def predict(mix: Mix) -> int:
            return _peak_of(self._predictor.run(mix.way()), bool(mix.offloaded))

        return solve(self._census, self._costs, budget - self._extra, widths, predict)


def _peak_of(run: Run, offload: bool) -> int:
    return run.peak_offloaded if offload else run.peak

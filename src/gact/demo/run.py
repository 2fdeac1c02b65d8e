"""The whole demonstration: trains, measures, gathers the results."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from torch import nn

from ..report import Report
from . import digits as data
from .networks import NETWORKS
from .results import NetworkResult, Settings, Timeline, Training, WayResult
from .training import Trainee, steps_of, train

WARM_UP = 2
"""Steps at the start of each training that are left out of the step time."""


def run(
    settings: Settings,
    advance: Callable[[str], None] = lambda _: None,
    networks: dict[str, Callable[[], nn.Module]] | None = None,
) -> list[NetworkResult]:
    """Train every network in every way from every seed and measure one step of each.

    Args:
        settings: Seeds, epochs, ways.
        advance: Called after each batch with what is being trained; ``batches_of(settings)`` times.
        networks: Makers of networks by name; by default the two of this package.

    Returns:
        One result for each network.

    Raises:
        ModuleNotFoundError: If scikit-learn is missing.
    """
    digits = data.load()
    return [_network(name, network, digits, settings, advance) for name, network in (networks or NETWORKS).items()]


def batches_of(settings: Settings) -> int:
    """How many batches a run takes, all networks and seeds together."""
    return len(NETWORKS) * settings.seeds * steps_of(data.load(), settings)


def _network(
    name: str,
    network: Callable[[], nn.Module],
    digits: data.Digits,
    settings: Settings,
    advance: Callable[[str], None],
) -> NetworkResult:
    trainings: list[list[Training]] = []
    trainees: list[Trainee] = []
    for seed in range(settings.seeds):
        label = f"{name}, seed {seed + 1} of {settings.seeds}"
        trainees = train(network, digits, settings, seed, lambda label=label: advance(label))  # type: ignore[misc]
        trainings.append([trainee.result(digits) for trainee in trainees])
    images, labels = next(data.batches(digits, settings.batch_size, 1, seed=settings.seeds))
    measured = [trainee.measured_step(images, labels) for trainee in trainees]
    ways = gather(settings.ways, measured, list(zip(*trainings, strict=True)))
    return NetworkResult(name, sum(parameter.numel() for parameter in trainees[0].model.parameters()), ways)


def gather(
    ways: Sequence[int | None],
    measured: Sequence[tuple[Timeline, Report | None]],
    trainings: Sequence[tuple[Training, ...]],
) -> tuple[WayResult, ...]:
    """Results of the ways of one network, plain first.

    Args:
        ways: Bits of each way, None for plain.
        measured: Of each way, its timeline and its report (None for plain, whose bytes the other reports tell).
        trainings: Of each way, its trainings, one for each seed.
    """
    plain_bytes = next(report.plain_bytes for _, report in measured if report is not None)
    results = []
    for bits, (timeline, report), own in zip(ways, measured, trainings, strict=True):
        kept = plain_bytes if report is None else report.kept_bytes
        ratio = step_ratio(own, trainings[0])
        results.append(WayResult(bits, plain_bytes, kept, timeline, ratio, own))
    return tuple(results)


def step_ratio(way: Sequence[Training], plain: Sequence[Training]) -> float:
    """Median over the steps of all seeds of the time of a way's step divided by plain's at the same step."""
    ratios = [
        mine / reference
        for own, other in zip(way, plain, strict=True)
        for mine, reference in zip(own.seconds[WARM_UP:], other.seconds[WARM_UP:], strict=True)
    ]
    return statistics.median(ratios)

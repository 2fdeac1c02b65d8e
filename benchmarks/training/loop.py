"""The training loop: one task, one way, one seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .task import Task
from .ways import Way

POINTS = 10


@dataclass(frozen=True, slots=True)
class Training:
    """What a run gave.

    Attributes:
        metric: Name of the figure.
        value: The figure after the last step.
        curve: Loss of training, the mean of each tenth of the steps, by the number of steps made.
    """

    metric: str
    value: float
    curve: dict[int, float]


def train(build: Callable[[], Task], way: Way, seed: int) -> Training:
    """Train a network from the start.

    Args:
        build: Makes the task from torch's global random state, which is set before and restored afterwards.
        way: How to train.
        seed: Of weights, order of the data and dropout, the same for all ways; and of the rounding.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = build()
        context, backward = way.open(task.model, seed)
        losses = []
        for step in range(task.steps):
            task.optimizer.zero_grad(set_to_none=True)
            with context:
                loss = task.loss(step)
            backward(loss)
            losses.append(loss.detach())
            task.optimizer.step()
            if task.schedule is not None:
                task.schedule.step()
        task.model.eval()
        with torch.no_grad():
            value = task.evaluate()
    return Training(task.metric, value, tenths(torch.stack(losses)))


def tenths(losses: Tensor) -> dict[int, float]:
    """The mean of each tenth of the steps, by the number of steps made.

    Args:
        losses: Of each step, shape ``[steps]``.
    """
    ends = sorted({round(len(losses) * (point + 1) / POINTS) for point in range(POINTS)} - {0})
    return {end: float(losses[begin:end].mean()) for begin, end in zip([0, *ends[:-1]], ends, strict=True)}

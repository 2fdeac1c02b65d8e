"""What a task gives to the training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True, slots=True)
class Task:
    """A network about to be trained, with its data.

    Attributes:
        model: The network in training mode.
        loss: The loss of a step, given its number from 0.
        steps: How many there are.
        optimizer: Of the model.
        schedule: Of its learning rate, stepped after each step; or None.
        metric: Name of what ``evaluate`` gives.
        evaluate: The metric on data that was not trained on.
    """

    model: nn.Module
    loss: Callable[[int], Tensor]
    steps: int
    optimizer: Optimizer
    schedule: LRScheduler | None
    metric: str
    evaluate: Callable[[], float]

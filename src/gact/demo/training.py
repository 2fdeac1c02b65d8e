"""Trains copies of one network together, each in its own way, on the same batches.

NOTE: Why together
All copies take their step on a batch before any sees the next one, and they take turns at being first. So step times
are compared in pairs taken within the same fraction of a second, and what else the machine does hits all ways alike.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..compressor import Compressor
from ..report import Report
from .digits import Digits, batches
from .live import LiveBytes
from .results import Settings, Timeline, Training


class Trainee:
    """One copy of a network with its optimizer, its way of keeping activations and its record.

    Args:
        model: The network; it is copied.
        bits: Width of the codes, or None for plain autograd.
        steps: Steps of the whole training, for the learning rate schedule.
        settings: Learning rate.
        seed: Key of the rounding.
    """

    def __init__(self, model: nn.Module, bits: int | None, steps: int, settings: Settings, seed: int) -> None:
        self.bits = bits
        self.model = copy.deepcopy(model)
        self.compressor = None if bits is None else Compressor(self.model, bits=bits, adaptive=False, seed=seed)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), settings.learning_rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: learning_rate(step, steps))
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One timed training step."""
        start = time.perf_counter()
        loss = self._forward(images, labels)
        self._backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seconds.append(time.perf_counter() - start)
        self.schedule.step()
        self.losses.append(loss.item())

    def measured_step(self, images: Tensor, labels: Tensor) -> tuple[Timeline, Report | None]:
        """One more step, with the memory counted after every operation.

        Returns:
            The live bytes over the step, and what was kept after its forward pass (None for the plain way).
        """
        state = chain.from_iterable(values.values() for values in self.optimizer.state.values())
        alive = (*self.model.parameters(), *self.model.buffers(), *filter(torch.is_tensor, state), images, labels)
        with LiveBytes(alive) as counter:
            counter.begin("forward")
            loss = self._forward(images, labels)
            counter.begin("backward")
            self._backward(loss)
            counter.begin("optimizer")
            self.optimizer.step()
            self.optimizer.zero_grad()
        return counter.timeline(), None if self.compressor is None else self.compressor.report()

    def result(self, digits: Digits) -> Training:
        """The record, with the accuracy on the test images."""
        self.model.eval()
        with torch.no_grad():
            guesses = self.model(digits.test_images).argmax(dim=1)
        self.model.train()
        accuracy = (guesses == digits.test_labels).double().mean().item()
        return Training(tuple(self.losses), tuple(self.seconds), accuracy)

    def _forward(self, images: Tensor, labels: Tensor) -> Tensor:
        with self.compressor or contextlib.nullcontext():
            return F.cross_entropy(self.model(images), labels)

    def _backward(self, loss: Tensor) -> None:
        if self.compressor is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.compressor.backward(loss)


def learning_rate(step: int, steps: int) -> float:
    """Share of the largest learning rate at a step: up in a line for the first fifth, then down in half a cosine."""
    warm_up = max(1, steps // 5)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up + 1) / (steps - warm_up + 1))


def train(
    network: Callable[[], nn.Module], digits: Digits, settings: Settings, seed: int, advance: Callable[[], None]
) -> list[Trainee]:
    """Train one copy per way from the same weights on the same batches.

    Args:
        network: Makes the network; its weights depend on ``seed`` alone.
        digits: The data.
        settings: Ways, epochs, batch size, learning rate.
        seed: Key of the weights, the order of the data and the rounding.
        advance: Called after each batch.

    Returns:
        The trained copies, plain first.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network()
    steps = steps_of(digits, settings)
    trainees = [Trainee(model, bits, steps, settings, seed) for bits in settings.ways]
    for number, (images, labels) in enumerate(batches(digits, settings.batch_size, settings.epochs, seed)):
        for trainee in _from(trainees, number):
            trainee.step(images, labels)
        advance()
    return trainees


def steps_of(digits: Digits, settings: Settings) -> int:
    """Steps of one training."""
    return settings.epochs * (len(digits.train_labels) // settings.batch_size)


def _from(trainees: Sequence[Trainee], first: int) -> Iterable[Trainee]:
    first %= len(trainees)
    return (*trainees[first:], *trainees[:first])

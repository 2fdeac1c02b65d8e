"""Live bytes of tensors over the phases of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from ..memory.live import LiveTensors
from .results import Timeline


class LiveBytes(LiveTensors):
    """Follows the memory of tensors while it is active as a context, and takes a sample after every operation.

    Args:
        tensors: What is alive already and counts: parameters, optimizer state, the batch.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__(tensors)
        self._phases: list[str] = []
        self._samples: list[list[int]] = []

    def begin(self, phase: str) -> None:
        """Starts a phase of the step; the samples that follow belong to it."""
        self._phases.append(phase)
        self._samples.append([self.live_bytes])

    def timeline(self) -> Timeline:
        """The samples of all phases."""
        return Timeline(tuple(self._phases), tuple(tuple(samples) for samples in self._samples))

    def after(self, func: Callable[..., Any], args: tuple[Any, ...], results: Any, label: Any) -> None:
        """Takes a sample."""
        if self._samples:
            self._samples[-1].append(self.live_bytes)

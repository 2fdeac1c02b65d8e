"""Which batch to try next, from predictions and from what attempts took."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ...levels import level_of
from ..factory import call_factory
from ..predict import Predictor, Run, Way
from ..scaling import largest
from ..subject import Subject
from .trial import Trial

_EXAMPLE = 2
_FARTHEST = 4
"""Without two figures, this many times the largest batch that fits is tried."""


class Law:
    """What is known of the peak as a function of the batch.

    Peaks are taken to grow in proportion: at the rate of two attempts that finished, or of predictions before there
    are two.

    Args:
        limit: Bytes that a peak may have.
        most: Largest batch to try.
    """

    def __init__(self, limit: int, most: int) -> None:
        self.low = 0
        self.high = most + 1
        self._limit = limit
        self._most = most
        self._predicted: Callable[[int], int] | None = None
        self._peaks: dict[int, int] = {}

    @property
    def is_settled(self) -> bool:
        """Whether the largest batch is known to within three parts in a hundred."""
        return self.high - self.low <= self._close

    @property
    def _close(self) -> int:
        """Three parts in a hundred of what fits, and at least 1."""
        return 1 + self.low // 32

    def learn(self, batch: int, peak: int | None) -> None:
        """Adds an attempt.

        Args:
            batch: Samples.
            peak: Its peak; None if it did not fit.
        """
        if peak is None:
            self.high = min(self.high, batch)
        else:
            self.low = max(self.low, batch)
            self._peaks[batch] = peak

    def predict(self, predicted: Callable[[int], int] | None) -> None:
        """Takes predictions of the peak of live tensors at a batch; None for none."""
        self._predicted = predicted

    def next(self) -> int:
        """The batch to try next."""
        if not self.low:
            return max(1, self.high // 2)
        aim = self._aim()
        if self.high > self._most:  # nothing was too large so far
            return min(max(aim, self.low + self._close), self._most)
        if aim >= self.high:
            # The law is too hopeful: what it says has been refused. A quarter of what is left is given up.
            return self.high - max(1, (self.high - self.low) // 4)
        # Nothing closer to what fits: if it does not fit, which is soon known, the search is over.
        return max(aim, self.low + self._close)

    def _aim(self) -> int:
        """The largest batch that fits as far as is known."""
        if len(self._peaks) < 2:
            (batch, peak) = next(iter(self._peaks.items()))
            if self._predicted is None:
                return _FARTHEST * batch
            room = self._limit - (peak - self._predicted(batch))
            return largest(self._predicted, batch, room, 1).size or _FARTHEST * batch
        (first, below), (last, peak) = sorted(self._peaks.items())[-2:]
        slope = (peak - below) / (last - first)
        if slope <= 0:
            return _FARTHEST * last
        return min(math.floor(last + (self._limit - peak) / slope), _FARTHEST * _FARTHEST * last)


def predictor_of(trial: Trial) -> Callable[[int], int] | None:
    """Predicts the peak of live tensors of a trial at other batches; None where that is not possible.

    Args:
        trial: What is trained; its batch does not matter.
    """
    level = level_of(trial.level)
    try:
        with torch.device("meta"):
            model, inputs, loss_fn = call_factory(trial.factory, _EXAMPLE)
        predictor = Predictor(Subject(model, inputs, loss_fn), hold_gradients=True)
        way = Way.of(level, trial.bits)
        _peak(predictor.run(way, _EXAMPLE), level.offload)
    except Exception:  # whatever a model raises that cannot be run without data: the search does without
        return None
    return lambda batch: _peak(predictor.run(way, batch), level.offload)


def _peak(run: Run, offload: bool) -> int:
    return run.peak_offloaded if offload else run.peak

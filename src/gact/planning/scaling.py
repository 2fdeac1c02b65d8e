"""The largest batch or sequence that fits, from few predictions.

NOTE: The law
Live bytes are an affine function of the batch and a quadratic one of the length, as long as the moment of the peak
stays the same. So the law is fitted through the sizes whose peaks lie nearest to the budget and solved; what it says is
predicted in turn, until nothing larger fits. The result has always been predicted itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_PROBES = 16
_EXACT = 256
"""Sizes below this are exact; larger ones are not searched to the last."""
_FARTHEST = 16
"""A law is trusted to this many times the largest size predicted."""


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest size that fits.

    Attributes:
        size: Samples or length; 0 if not even one fits.
        peak: Predicted peak at that size, in bytes.
        limit: ``"memory"``, or ``"model"`` if the model runs at no larger size (positions, for example).
    """

    size: int
    peak: int
    limit: str = "memory"


def largest(predict: Callable[[int], int], start: int, budget: int, degree: int) -> Largest:
    """The largest size whose predicted peak is within a budget.

    Args:
        predict: Peak in bytes at a size; raises at sizes that the model cannot run.
        start: A size at which it runs.
        budget: Bytes.
        degree: 1 for a batch, 2 for a sequence.
    """
    peaks = {start: predict(start)}
    refused: int | None = None
    guesses = [max(1, start // 2), 2 * start] if degree == 1 else [max(1, start // 2), max(1, start // 4), 2 * start]
    for _ in range(_PROBES):
        size = guesses.pop(0) if guesses else _next(peaks, budget, degree, refused)
        if size is None:
            break
        if size in peaks or (refused is not None and size >= refused):
            continue
        try:
            peaks[size] = predict(size)
        except Exception:  # whatever a model raises when it is given too much
            if size < start:
                raise
            refused = size
    fitting = [size for size, peak in peaks.items() if peak <= budget]
    if not fitting:
        return Largest(0, min(peaks.values()))
    best = max(fitting)
    by_model = refused is not None and not any(best < size < refused for size in peaks)
    return Largest(best, peaks[best], "model" if by_model else "memory")


def _next(peaks: dict[int, int], budget: int, degree: int, refused: int | None) -> int | None:
    """The size to predict next: what the law says, within what is known; None if nothing is left to learn."""
    low = max((size for size, peak in peaks.items() if peak <= budget), default=0)
    high = min([size for size, peak in peaks.items() if peak > budget and size > low], default=None)
    if refused is not None:
        high = refused if high is None else min(high, refused)
    if high is not None and high - low <= 1 + low // _EXACT:
        return None
    nearest = sorted(peaks, key=lambda size: abs(peaks[size] - budget))[: degree + 1]
    guess = _solve([(size, peaks[size]) for size in nearest], budget)
    farthest = _FARTHEST * max(peaks)
    guess = farthest if guess is None else min(guess, farthest)
    if high is not None:
        # Between a size that fits and one that does not, the law may point outside: halve instead.
        guess = guess if low < guess < high else (low + 1 if guess == low else (low + high) // 2)
    elif guess <= low:
        guess = low + 1
    return None if guess in peaks else guess


def _solve(points: list[tuple[int, int]], budget: int) -> int | None:
    """The largest whole number at which the polynomial through the points is within the budget; None if all are."""
    if len(points) < 2:
        return None
    if len(points) == 2:
        (x0, y0), (x1, y1) = points
        slope = (y1 - y0) / (x1 - x0)
        return None if slope <= 0 else math.floor(x0 + (budget - y0) / slope)
    (x0, y0), (x1, y1), (x2, y2) = points
    first, second = (y1 - y0) / (x1 - x0), (y2 - y0) / (x2 - x0)
    bend = (second - first) / (x2 - x1)
    if bend <= 1e-9 * abs(first):
        return _solve(points[:2], budget)
    # y = y0 + first * (x - x0) + bend * (x - x0) * (x - x1)
    b = first - bend * (x0 + x1)
    c = y0 - first * x0 + bend * x0 * x1 - budget
    inside = b * b - 4 * bend * c
    return 0 if inside < 0 else math.floor((-b + math.sqrt(inside)) / (2 * bend))

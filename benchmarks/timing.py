"""Paired measurement of time.

NOTE: Why pairs
The speed of a shared machine drifts by tens of percent within seconds. So what is compared takes turns: every round
times each way once, the order is reversed from round to round, and a ratio or a difference is taken within a round
before any median is. A drift then hits both sides alike.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .rows import Spread

Call = Callable[[], object]
WARM_UP = 3
_MOST_REPEATS = 10_000


@dataclass(frozen=True, slots=True)
class Samples:
    """Seconds of each way in each round.

    Attributes:
        seconds: For each way, one figure per round.
    """

    seconds: Mapping[str, tuple[float, ...]]

    def time(self, way: str, unit: float = 1.0) -> Spread:
        """How long one call takes, in ``unit`` seconds."""
        return Spread.of(value / unit for value in self.seconds[way])

    def rate(self, way: str, amount: float) -> Spread:
        """How much of something a way does per second, if one call does ``amount``."""
        return Spread.of(amount / value for value in self.seconds[way])

    def ratio(self, way: str, base: str) -> Spread:
        """Ratio of two ways, taken round by round."""
        pairs = zip(self.seconds[way], self.seconds[base], strict=True)
        return Spread.of(a / b for a, b in pairs)

    def difference(self, way: str, *bases: str, unit: float = 1.0) -> Spread:
        """What a way costs above the sum of others, taken round by round, in ``unit`` seconds."""
        rounds = zip(self.seconds[way], *(self.seconds[base] for base in bases), strict=True)
        return Spread.of((first - sum(rest)) / unit for first, *rest in rounds)


def take_turns(
    ways: Mapping[str, Call],
    rounds: int,
    least_seconds: float = 0.0,
    warm_up: int = WARM_UP,
    clock: Callable[[], float] = time.perf_counter,
) -> Samples:
    """Time several ways in turns.

    Args:
        ways: Calls without arguments, by name.
        rounds: How often each is timed.
        least_seconds: A way that is faster than this is called as often as it takes to last that long, and the fastest
            of the calls counts: a neighbour that takes the processor only makes calls longer.
        warm_up: Calls of each way that are not timed.
        clock: Seconds: ``time.process_time`` counts the work of this process alone, whoever else is on the machine.

    Returns:
        Seconds of one call of each way in each round.
    """
    for _ in range(warm_up):
        for call in ways.values():
            call()
    repeats = {name: _repeats(call, least_seconds, clock) for name, call in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            order = list(ways) if number % 2 == 0 else list(ways)[::-1]
            for name in order:
                seconds[name].append(_seconds(ways[name], repeats[name], clock))
    finally:
        if collects:
            gc.enable()
    return Samples({name: tuple(values) for name, values in seconds.items()})


def _seconds(call: Call, repeats: int, clock: Callable[[], float]) -> float:
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)


def _repeats(call: Call, least_seconds: float, clock: Callable[[], float]) -> int:
    if not least_seconds:
        return 1
    once = min(_seconds(call, 1, clock) for _ in range(3))
    return max(1, min(_MOST_REPEATS, round(least_seconds / once)))

"""When sensitivities are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .state import count, expect


@dataclass(slots=True)
class Schedule:
    """The steps in which a measurement is due.

    The first is due as soon as it is known that ``Compressor.backward`` is used, the second a tenth of the interval
    later, since gradients change fastest at the beginning, and the others once in every interval. While much is saved
    at sites that were never measured, more are due, in growing distances. One that fails is tried again in the next
    step, then after two, four, eight. Without an interval no other comes by itself than the first. One that was asked
    for is due in the next step.

    Attributes:
        interval: Steps between two measurements; None for no more than the first.
        measured_at: Step of the last one; 0 for none.
        measurements: How many there were.
        early: How many in a row came before their time.
        attempted_at: Step of the last attempt.
        failures: Attempts since the last success.
        requested: Whether one was asked for that has not succeeded yet.
    """

    interval: int | None
    measured_at: int = 0
    measurements: int = 0
    early: int = 0
    attempted_at: int = 0
    failures: int = 0
    requested: bool = False

    @classmethod
    def load(cls, interval: int | None, state: Mapping[str, Any]) -> Schedule:
        """The schedule whose ``state`` this is.

        Raises:
            ValueError: If a number is out of range, or keys are missing or unknown.
        """
        expect(state, set(cls(interval).state()))
        numbers = {name: count(value) for name, value in state.items()}
        return cls(interval, requested=bool(numbers.pop("requested")), **numbers)

    def request(self) -> None:
        """Asks for a measurement in the next step."""
        self.requested = True
        self.failures = 0

    def is_part(self, number: int, parts: int) -> bool:
        """Whether a step is one of so many in an interval; none is without an interval."""
        return self.interval is not None and number % max(self.interval // parts, 1) == 0

    def is_due(self, number: int, incomplete: bool) -> bool:
        """Whether a step is to measure; counts as an attempt if so.

        Args:
            number: Number of the step.
            incomplete: Whether the last step saved much at sites that were never measured.
        """
        if self.failures and number - self.attempted_at < 2 ** (self.failures - 1):
            return False
        due = self.requested or not self.measurements or self._is_next(number, incomplete)
        if due:
            self.attempted_at = number
            self.failures += 1
        return due

    def succeeded(self, number: int) -> None:
        """Notes that the measurement of a step succeeded."""
        in_time = self.requested or self.measurements < 2 or self._is_next(number, False)
        self.early = 0 if in_time else self.early + 1
        self.measured_at = number
        self.measurements += 1
        self.failures = 0
        self.requested = False

    def _is_next(self, number: int, incomplete: bool) -> bool:
        """Whether one that is not the first is due by itself."""
        if self.interval is None:
            return False
        since = number - self.measured_at
        second = self.measurements == 1 and since >= max(self.interval // 10, 1)
        return second or since >= self.interval or (incomplete and since >= 2**self.early)

    def state(self) -> dict[str, Any]:
        """The counters."""
        return {name: value for name, value in asdict(self).items() if name != "interval"}

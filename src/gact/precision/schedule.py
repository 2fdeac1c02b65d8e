"""When sensitivities are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .state import count, expect

_FIRST, _GROWTH = 100, 3
"""The first distance is the interval over the one, and grows by the other."""


@dataclass(slots=True)
class Schedule:
    """The steps in which a measurement is due.

    The first is due as soon as a backward pass has read what a step saved, the second a hundredth of the interval
    later, and each distance is three times the last until it is the interval: gradients change fastest at the
    beginning. While much is saved at sites that were never measured, more are due, in growing distances that are odd,
    so that losses by turns are both met. One that fails is tried again in the next step, then after two, four, eight.
    Without an interval no other comes by itself than the first. One that was asked for is due in the next step.

    Attributes:
        interval: Steps between two measurements; None for no more than the first.
        measured_at: Step of the last one; 0 for none.
        measurements: How many came in their time.
        early: How many in a row came before their time.
        attempted_at: Step of the last attempt.
        failures: Attempts since the last success.
        requested: Whether one was asked for that has not succeeded yet.
        incomplete: Whether much was saved since at sites that were never measured.
        agreed: Step in which all ranks are to measure, as they have agreed; 0 for none.
    """

    interval: int | None
    measured_at: int = 0
    measurements: int = 0
    early: int = 0
    attempted_at: int = 0
    failures: int = 0
    requested: bool = False
    incomplete: bool = False
    agreed: int = 0

    @classmethod
    def load(cls, interval: int | None, state: Mapping[str, Any]) -> Schedule:
        """The schedule whose ``state`` this is.

        Raises:
            ValueError: If a number is out of range, or keys are missing or unknown.
        """
        expect(state, set(cls(interval).state()))
        numbers = {name: count(value) for name, value in state.items()}
        requested, incomplete = (bool(numbers.pop(name)) for name in ("requested", "incomplete"))
        return cls(interval, requested=requested, incomplete=incomplete, **numbers)

    def request(self) -> None:
        """Asks for a measurement in the next step."""
        self.requested = True
        self.failures = 0

    def is_part(self, number: int, parts: int) -> bool:
        """Whether a step is one of so many in an interval; none is without an interval."""
        return self.interval is not None and number % max(self.interval // parts, 1) == 0

    @property
    def is_settled(self) -> bool:
        """Whether measurements have come to be an interval apart."""
        return self.interval is not None and self._distance(self.interval) == self.interval

    def is_due(self, number: int, incomplete: bool) -> bool:
        """Whether a step is to measure; counts as an attempt if so.

        Args:
            number: Number of the step.
            incomplete: Whether the last step saved much at sites that were never measured.
        """
        self.incomplete |= incomplete
        if self.failures and number == self.attempted_at:
            return True  # a forward that has run no backward since: this is the same attempt
        if self.failures and number - self.attempted_at < 2 ** (self.failures - 1):
            return False
        due = self.requested or not self.measurements or self._is_next(number)
        if due:
            self.attempted_at = number
            self.failures += 1
        return due

    def succeeded(self, number: int) -> None:
        """Notes that the measurement of a step succeeded."""
        self.incomplete = False
        if not self.measurements or self._is_next(number):
            self.measurements += 1
            self.early = 0
        elif not self.requested:
            self.early += 1
        self.measured_at = number
        self.failures = 0
        self.requested = False

    def _is_next(self, number: int) -> bool:
        """Whether one that is not the first is due by itself."""
        if self.interval is None:
            return False
        since = number - self.measured_at
        return since >= self._distance(self.interval) or (self.incomplete and since >= 2 ** (self.early + 1) - 1)

    def _distance(self, interval: int) -> int:
        """Steps from the last measurement to the next."""
        growing: int = max(interval // _FIRST, 1) * _GROWTH ** min(max(self.measurements - 1, 0), _FIRST)
        return min(growing, interval)

    def state(self) -> dict[str, Any]:
        """The counters."""
        return {name: value for name, value in asdict(self).items() if name != "interval"}

"""When sensitivities are measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


_FIRST, _GROWTH = 100, 3
"""The first distance is the interval over the one, and grows by the other."""


@dataclass(slots=True)
class Schedule:
    """The steps in which a measurement is due.

    The first is due as soon as it is known that ``Compressor.backward`` is used, the second a hundredth of the interval
    later, and each distance is three times the last until it is the interval: gradients change fastest at the
    beginning. While much is saved
    at sites that were never measured, more are due, in growing distances that are
    odd, so that losses by turns are both met. One that fails is tried again in the next
    step, then after two, four, eight.

    Attributes:
        interval: Steps between two measurements.
        measured_at: Step of the last one; 0 for none.
        measurements: How many came in their time.
        early: How many in a row came before their time.
        attempted_at: Step of the last attempt.
        failures: Attempts since the last success.
    """

    interval: int
    measured_at: int = 0
    measurements: int = 0
    early: int = 0
    attempted_at: int = 0
    failures: int = 0

    @property
    def distance(self) -> int:
        """Steps from the last measurement to the next."""
        growing = max(self.interval // _FIRST, 1) * _GROWTH ** min(max(self.measurements - 1, 0), _FIRST)
        return min(growing, self.interval)

    @property
    def is_settled(self) -> bool:
        """Whether measurements have come to be an interval apart."""
        return self.distance == self.interval

    def is_due(self, number: int, incomplete: bool) -> bool:
        """Whether a step is to measure; counts as an attempt if so.

        Args:
            number: Number of the step.
            incomplete: Whether the last step saved much at sites that were never measured.
        """
        if self.failures and number - self.attempted_at < 2 ** (self.failures - 1):
            return False
        since = number - self.measured_at
        due = not self.measurements or since >= self.distance or (incomplete and since >= 2 ** (self.early + 1) - 1)
        if due:
            self.attempted_at = number
            self.failures += 1
        return due

    def succeeded(self, number: int) -> None:
        """Notes that the measurement of a step succeeded."""
        in_time = not self.measurements or number - self.measured_at >= self.distance
        if in_time:
            self.early = 0
            self.measurements += 1
        else:
            self.early += 1
        self.measured_at = number
        self.failures = 0

    def state(self) -> dict[str, Any]:
        """The counters."""
        return {name: value for name, value in asdict(self).items() if name != "interval"}

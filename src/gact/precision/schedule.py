"""When sensitivities are measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class Schedule:
    """The steps in which a measurement is due.

    The first is due as soon as it is known that ``Compressor.backward`` is used, the second a tenth of the interval
    later, since gradients change fastest at the beginning, and the others once in every interval. While much is saved
    at sites that were never measured, more are due, in growing distances. One that fails is tried again in the next
    step, then after two, four, eight.

    Attributes:
        interval: Steps between two measurements.
        measured_at: Step of the last one; 0 for none.
        measurements: How many there were.
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

    def is_due(self, number: int, incomplete: bool) -> bool:
        """Whether a step is to measure; counts as an attempt if so.

        Args:
            number: Number of the step.
            incomplete: Whether the last step saved much at sites that were never measured.
        """
        if self.failures and number - self.attempted_at < 2 ** (self.failures - 1):
            return False
        since = number - self.measured_at
        second = self.measurements == 1 and since >= max(self.interval // 10, 1)
        due = not self.measurements or since >= self.interval or second or (incomplete and since >= 2**self.early)
        if due:
            self.attempted_at = number
            self.failures += 1
        return due

    def succeeded(self, number: int) -> None:
        """Notes that the measurement of a step succeeded."""
        in_time = self.measurements < 2 or number - self.measured_at >= self.interval
        self.early = 0 if in_time else self.early + 1
        self.measured_at = number
        self.measurements += 1
        self.failures = 0

    def state(self) -> dict[str, Any]:
        """The counters."""
        return {name: value for name, value in asdict(self).items() if name != "interval"}

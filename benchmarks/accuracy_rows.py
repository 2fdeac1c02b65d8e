"""Figures of the accuracy case, read from its rows."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .rows import Spread, read

RESULTS = Path(__file__).parent / "results"
METRICS = ("test_accuracy", "validation_loss")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the seeds of one way came to.

    Attributes:
        metric: ``test_accuracy`` or ``validation_loss``.
        values: By seed.
    """

    metric: str
    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values.values())

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds; 0 for one."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else 0.0

    def error_of_difference(self, other: Outcome) -> float:
        """Standard error of the difference of two means."""
        return math.sqrt(sum(each.deviation**2 / len(each.values) for each in (self, other)))

    def less(self, other: Outcome) -> Outcome:
        """The difference seed by seed, of the seeds that both have."""
        common = {seed: value - other.values[seed] for seed, value in self.values.items() if seed in other.values}
        return Outcome(self.metric, common)


def outcomes(folder: Path = RESULTS) -> Mapping[str, Mapping[str, Outcome]]:
    """Outcomes by task and way, in the order of the rows.

    Args:
        folder: Where the rows are.
    """
    seeds: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in read(folder / "accuracy.csv"):
        if row["metric"] in METRICS:
            config = json.loads(row["config"])
            seeds.setdefault((config["task"], row["way"], row["metric"]), {})[config["seed"]] = float(row["p50"])
    found: dict[str, dict[str, Outcome]] = {}
    for (task, way, metric), values in seeds.items():
        found.setdefault(task, {})[way] = Outcome(metric, values)
    return found


def curves(folder: Path = RESULTS) -> Mapping[str, Mapping[str, Mapping[int, Spread]]]:
    """Loss of training by task, way and step.

    Args:
        folder: Where the rows are.
    """
    found: dict[str, dict[str, dict[int, Spread]]] = {}
    for row in read(folder / "accuracy_curves.csv"):
        config = json.loads(row["config"])
        spread = Spread(*(float(row[name]) for name in ("p20", "p50", "p80")))
        found.setdefault(config["task"], {}).setdefault(row["way"], {})[config["step"]] = spread
    return found

"""Figures of the trainers case, read from its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from .accuracy_rows import RESULTS, Outcome
from .rows import read

Curve = Mapping[int, Outcome]
"""Loss over the seeds, by the number of steps made."""


def curves(folder: Path = RESULTS) -> Mapping[str, Mapping[str, Curve]]:
    """Loss of training by trainer, way and step, in the order of the rows.

    Args:
        folder: Where the rows are.
    """
    seeds: dict[tuple[str, str, int], dict[int, float]] = {}
    for row in read(folder / "trainers_curves.csv"):
        config = json.loads(row["config"])
        seeds.setdefault((config["trainer"], row["way"], config["step"]), {})[config["seed"]] = float(row["p50"])
    found: dict[str, dict[str, dict[int, Outcome]]] = {}
    for (trainer, way, step), values in seeds.items():
        found.setdefault(trainer, {}).setdefault(way, {})[step] = Outcome("training_loss", values)
    return found


def figures(folder: Path = RESULTS) -> Mapping[str, Mapping[str, float]]:
    """The figures of compressed training by trainer and metric.

    Args:
        folder: Where the rows are.
    """
    found: dict[str, dict[str, float]] = {}
    for row in read(folder / "trainers.csv"):
        if row["metric"] != "last_loss":
            found.setdefault(json.loads(row["config"])["trainer"], {})[row["metric"]] = float(row["p50"])
    return found

"""Trainings by other people's trainers and loops, as installed, with gact's one line or without.

``record.py`` says what is asked and given. ``hugging_face.py`` runs a ``Trainer``: ``reviews.py``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from .record import Asked, Trained

TRAINERS: Mapping[str, tuple[str, str]] = {
    "transformers Trainer": ("reviews", "transformers"),
}
"""Module here and packages needed, by the name of what trains."""


def trainer(name: str) -> Callable[[Asked], Trained] | None:
    """What trains, or None where its package is not installed.

    Args:
        name: One of ``TRAINERS``.
    """
    module, *packages = TRAINERS[name]
    if any(importlib.util.find_spec(package) is None for package in packages):
        return None
    return importlib.import_module(f".{module}", __name__).trainer

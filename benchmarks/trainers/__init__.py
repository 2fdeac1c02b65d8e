"""Trainings by other people's trainers and loops, as installed, with gact's one line or without.

``record.py`` says what is asked and given. ``hugging_face.py`` runs transformers' ``Trainer`` and its kind
(``reviews.py``, ``sft.py``), ``vision.py`` Lightning's, and ``plain_loop.py`` a user's own loop (``graphs.py``,
``diffusion.py``).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping

from .record import Asked, Trained

TRAINERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "transformers Trainer": ("reviews.trainer", ("transformers", "accelerate")),
    "TRL SFTTrainer": ("sft.trainer", ("trl", "peft", "datasets")),
    "Lightning Trainer": ("vision.trainer", ("lightning", "sklearn")),
    "PyG GCN": ("graphs.gcn", ("torch_geometric",)),
    "PyG GAT": ("graphs.gat", ("torch_geometric",)),
    "PyG GCNII": ("graphs.gcnii", ("torch_geometric",)),
    "diffusers UNet": ("diffusion.trainer", ("diffusers", "sklearn")),
}
"""Function in a module here and packages it needs, by the name of what trains."""


def trainer(name: str) -> Callable[[Asked], Trained] | None:
    """What trains, or None where a package that it needs is not installed.

    Args:
        name: One of ``TRAINERS``.
    """
    place, packages = TRAINERS[name]
    if any(importlib.util.find_spec(package) is None for package in packages):
        return None
    module, function = place.split(".")
    found: Callable[[Asked], Trained] = getattr(importlib.import_module(f".{module}", __name__), function)
    return found

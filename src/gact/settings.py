"""What users ask of a compressor, checked once at the border; and the part of a training that is saved and resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from .autograd.inner import InnerPasses, SiteOf
from .checks import (
    check_bits,
    check_budgets,
    check_choice,
    check_count,
    check_count_or_none,
    check_group_size,
    check_memory,
    check_names,
    check_positive,
    check_seed,
)
from .precision.controller import Controller
from .precision.objective import OBJECTIVES
from .records import Settings
from .saved.choices import Choices
from .saved.steps import Steps
from .store.choose import check_offload

_STATE_VERSION = 9


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "adaptive": bool,
    "probe_interval": lambda value: check_count_or_none("probe_interval", value, 1),
    "group_size": check_group_size,
    "min_bytes": lambda value: check_count_or_none("min_bytes", value, 0),
    "derive": bool,
    "offload": check_offload,
    "checkpoint": lambda value: check_names("checkpoint", value),
    "compress_again": bool,
    "seed": check_seed,
    "ratio": lambda value: check_positive("ratio", value),
    "memory": check_memory,
    "max_noise": lambda value: check_positive("max_noise", value),
    "estimator": lambda value: check_choice("estimator", value, ("grouped", "exhaustive")),
    "objective": lambda value: check_choice("objective", value, OBJECTIVES),
    "enabled": bool,
}
"""What checks each argument of ``Compressor`` but ``bits``, which must be whole without ``adaptive``."""


def checked(asked: Mapping[str, Any]) -> Settings:
    """The arguments of ``Compressor`` as settings.

    Args:
        asked: The arguments by name; others among them are passed over.

    Raises:
        ValueError: If a number is out of range.
    """
    bits = check_bits(asked["bits"], whole=not asked["adaptive"])
    settings = Settings(bits=bits, **{name: check(asked[name]) for name, check in _CHECKS.items()})
    check_budgets(settings.adaptive, ratio=asked["ratio"], memory=asked["memory"], max_noise=asked["max_noise"])
    return settings


def state_of(settings: Settings, controller: Controller, steps: Steps) -> dict[str, Any]:
    """What a resumed run needs to round exactly as one that never stopped: plain numbers, texts and lists."""
    return {
        "version": _STATE_VERSION,
        "bits": settings.bits,
        "seed": settings.seed,
        "steps": steps.count,
        "small": steps.small.bytes,
        "again": 0 if steps.again is None else steps.again.count,
        "precision": controller.state(),
        "inner": steps.inner.state(),
        "choices": steps.choices.state(),
    }


def load_state(state: Mapping[str, Any], controller: Controller, steps: Steps, site_of: SiteOf) -> Settings:
    """Takes up what ``state_of`` returned; the settings that hold from now on, which are the old ones but for the seed.

    Raises:
        TypeError: If it is no mapping.
        ValueError: If keys are missing or unknown, or the state is of another version. Nothing is changed then.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a mapping, got {type(state).__name__}. Pass what state_dict() returned.")
    expected = {"version", "bits", "seed", "steps", "small", "again", "precision", "inner", "choices"}
    if set(state) != expected:
        raise ValueError(
            f"state must have the keys {sorted(expected)}, got {sorted(state)}. Pass what state_dict() returned."
        )
    if state["version"] != _STATE_VERSION:
        raise ValueError(f"state has version {state['version']!r}; this release reads version {_STATE_VERSION}.")
    check_bits(state["bits"], whole=False)
    seed, count = check_seed(state["seed"]), check_count("steps", state["steps"], 0)
    small = check_count("small", state["small"], 0)
    again = check_count("again", state["again"], 0)
    inner = InnerPasses.checked(state["inner"], site_of)
    choices = Choices.checked(state["choices"], site_of)
    controller.load(state["precision"])
    steps.choices.load(choices)
    steps.inner.load(*inner)
    controller.settings = dataclasses.replace(controller.settings, seed=seed)
    steps.count = count
    steps.small.load(small)
    if steps.again is not None:
        steps.again.count = again
    return controller.settings

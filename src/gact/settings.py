"""What users ask of a compressor, checked once at the border; and the part of a training that is saved and resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
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
from .saved.steps import Steps
from .store.choose import check_offload

_STATE_VERSION = 5


def checked(
    *,
    bits: float,
    adaptive: bool,
    probe_interval: int | None,
    group_size: int,
    min_bytes: int,
    derive: bool,
    offload: str | None,
    checkpoint: bool | Iterable[str],
    compress_again: bool,
    seed: int,
    ratio: float | None,
    memory: int | str | None,
    max_noise: float | None,
    estimator: str,
    objective: str,
    enabled: bool,
) -> Settings:
    """The arguments of ``Compressor`` as settings.

    Raises:
        ValueError: If a number is out of range.
    """
    settings = Settings(
        bits=check_bits(bits, whole=not adaptive),
        adaptive=bool(adaptive),
        probe_interval=check_count_or_none("probe_interval", probe_interval, 1),
        group_size=check_group_size(group_size),
        min_bytes=check_count("min_bytes", min_bytes, 0),
        derive=bool(derive),
        offload=check_offload(offload),
        checkpoint=check_names("checkpoint", checkpoint),
        seed=check_seed(seed),
        ratio=check_positive("ratio", ratio),
        memory=check_memory(memory),
        max_noise=check_positive("max_noise", max_noise),
        estimator=check_choice("estimator", estimator, ("grouped", "exhaustive")),
        objective=check_choice("objective", objective, OBJECTIVES),
        enabled=bool(enabled),
        compress_again=bool(compress_again),
    )
    check_budgets(settings.adaptive, ratio=ratio, memory=memory, max_noise=max_noise)
    return settings


def state_of(settings: Settings, controller: Controller, steps: Steps) -> dict[str, Any]:
    """What a resumed run needs to round exactly as one that never stopped: plain numbers, texts and lists."""
    return {
        "version": _STATE_VERSION,
        "bits": settings.bits,
        "seed": settings.seed,
        "steps": steps.count,
        "precision": controller.state(),
        "inner": steps.inner.state(),
    }


def load_state(state: Mapping[str, Any], controller: Controller, steps: Steps, site_of: SiteOf) -> Settings:
    """Takes up what ``state_of`` returned; the settings that hold from now on.

    Raises:
        TypeError: If it is no mapping.
        ValueError: If keys are missing or unknown, or the state is of another version. Nothing is changed then.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a mapping, got {type(state).__name__}. Pass what state_dict() returned.")
    expected = {"version", "bits", "seed", "steps", "precision", "inner"}
    if set(state) != expected:
        raise ValueError(
            f"state must have the keys {sorted(expected)}, got {sorted(state)}. Pass what state_dict() returned."
        )
    if state["version"] != _STATE_VERSION:
        raise ValueError(f"state has version {state['version']!r}; this release reads version {_STATE_VERSION}.")
    bits = check_bits(state["bits"], whole=not controller.settings.adaptive)
    seed, count = check_seed(state["seed"]), check_count("steps", state["steps"], 0)
    inner = InnerPasses.checked(state["inner"], site_of)
    controller.load(state["precision"])
    steps.inner.load(*inner)
    controller.settings = dataclasses.replace(controller.settings, bits=bits, seed=seed)
    steps.count = count
    return controller.settings

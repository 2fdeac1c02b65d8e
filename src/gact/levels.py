"""The paper's levels as arguments of ``Compressor``."""

from __future__ import annotations

from typing import Any

_LEVELS: dict[str, dict[str, Any]] = {"L0": {"enabled": False}, "L1": {"bits": 4.0, "adaptive": True}}
_LATER = {"L2": "offloading", "CB1": "checkpointing", "CB2": "checkpointing and memory-efficient attention"}


def arguments_of(level: str) -> dict[str, Any]:
    """What a level means.

    Args:
        level: ``"L0"`` plain training; ``"L1"`` 4 bits on average, by measured sensitivity.

    Returns:
        Keyword arguments of ``Compressor``.

    Raises:
        NotImplementedError: If the level needs what does not exist yet.
        ValueError: If it is no level.
    """
    if level in _LATER:
        raise NotImplementedError(f"level {level} needs {_LATER[level]}, which is not available yet. Pass L0 or L1.")
    if level not in _LEVELS:
        raise ValueError(f"level must be one of {', '.join([*_LEVELS, *_LATER])}, got {level!r}.")
    return dict(_LEVELS[level])

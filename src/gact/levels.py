"""The paper's levels as arguments of ``Compressor``."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

_AUTOMATIC: dict[str, Any] = {"bits": 4.0, "adaptive": True}
LEVELS: dict[str, dict[str, Any]] = {
    "L0": {"enabled": False},
    "L1": _AUTOMATIC,
    "L2": _AUTOMATIC,
    "CB1": {**_AUTOMATIC, "checkpoint": True},
    "CB2": {**_AUTOMATIC, "checkpoint": True},
}


def arguments_of(level: str, model: nn.Module | None) -> dict[str, Any]:
    """What a level means for a model.

    Args:
        level: ``"L0"`` plain training; ``"L1"`` 4 bits on average, by measured sensitivity; ``"L2"`` the same with
            codes out of the memory of the device; ``"CB1"`` as L1 with the repeated blocks checkpointed; ``"CB2"`` CB1
            with attention that keeps no matrix of probabilities.
        model: The network. CB2 switches a transformers model to its ``"sdpa"`` attention, for good.

    Returns:
        Keyword arguments of ``Compressor``.

    Raises:
        ValueError: If it is no level, or the model has no repeated blocks to be checkpointed.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}.")
    arguments = dict(LEVELS[level])
    if level == "L2":
        arguments["offload"] = offload_of(model)
    if level == "CB2" and model is not None:
        exchange_attention(model)
    return arguments


def offload_of(model: nn.Module | None) -> str:
    """Where codes go that are to leave the memory of the device: host memory, or a disk for a model on the CPU."""
    devices = {parameter.device.type for parameter in model.parameters()} if model is not None else set()
    return "disk" if devices == {"cpu"} else "cpu"


def exchange_attention(model: nn.Module) -> None:
    """Has a transformers model use ``scaled_dot_product_attention``; warns where the model offers no such switch."""
    switch = getattr(model, "set_attn_implementation", None)
    if switch is not None:
        switch("sdpa")
        return
    warnings.warn(
        f"CB2 leaves the attention of {type(model).__name__} as it is: it has no set_attn_implementation(). Call "
        "torch.nn.functional.scaled_dot_product_attention or gact.attention where it writes attention out.",
        UserWarning,
        stacklevel=4,
    )

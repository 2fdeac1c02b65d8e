"""The ways of training by the paper's names: what each does, and what it is to a ``Compressor``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn

from .errors import GactWarning


@dataclass(frozen=True, slots=True)
class Level:
    """A way of training.

    Attributes:
        name: The paper's name.
        compress: Whether saved tensors are held in codes.
        checkpoint: Whether the repeated blocks hold their inputs only and run again in backward.
        offload: Whether codes lie elsewhere and come back one after the other.
        attention: Whether attention holds no matrix of probabilities.
    """

    name: str
    compress: bool = False
    checkpoint: bool = False
    offload: bool = False
    attention: bool = False

    @property
    def compresses_again(self) -> bool:
        """Whether what blocks save when they run again is held in codes too."""
        return self.compress and self.checkpoint

    @property
    def has_compressor(self) -> bool:
        """Whether a compressor is all that it takes: checkpointing alone is none."""
        return self.compress or not self.checkpoint


LEVELS = {
    level.name: level
    for level in (
        Level("L0"),
        Level("checkpointing", checkpoint=True),
        Level("L1", compress=True),
        Level("L2", compress=True, offload=True),
        Level("CB1", compress=True, checkpoint=True),
        Level("CB2", compress=True, checkpoint=True, attention=True),
    )
}


def level_of(name: str) -> Level:
    """The level of a name.

    Raises:
        ValueError: If there is none.
    """
    if name not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(map(repr, LEVELS))}, got {name!r}.")
    return LEVELS[name]


def arguments_of(name: str, model: nn.Module | None) -> dict[str, Any]:
    """What a level means for a model.

    Args:
        name: ``"L0"`` plain training; ``"L1"`` 4 bits on average, by measured sensitivity; ``"L2"`` the same with
            codes out of the memory of the device; ``"CB1"`` as L1 with the repeated blocks checkpointed; ``"CB2"`` CB1
            with attention that keeps no matrix of probabilities.
        model: The network. CB2 switches a transformers model to its ``"sdpa"`` attention, for good.

    Returns:
        Keyword arguments of ``Compressor``.

    Raises:
        ValueError: If it is no level of a compressor.
    """
    known = [each for each, level in LEVELS.items() if level.has_compressor]
    if name not in known:
        raise ValueError(f"level must be one of {', '.join(known)}, got {name!r}.")
    level = LEVELS[name]
    if not level.compress:
        return {"enabled": False}
    if level.attention and model is not None:
        exchange_attention(model)
    arguments: dict[str, Any] = {"bits": 4.0, "adaptive": True}
    if level.checkpoint:
        arguments |= {"checkpoint": True, "compress_again": level.compresses_again}
    return {**arguments, "offload": offload_of(model)} if level.offload else arguments


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
        GactWarning,
        stacklevel=4,
    )

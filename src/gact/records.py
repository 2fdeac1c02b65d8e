"""Records that the other modules pass to each other. This file imports nothing of the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Any

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
"""Positional and keyword arguments of an op."""


def argument(arguments: Arguments, position: int, name: str, default: Any) -> Any:
    """An argument by position or name."""
    positional, keywords = arguments
    return positional[position] if len(positional) > position else keywords.get(name, default)


UNLISTED = " is not listed"
"""How the reason ends why a tensor is exact whose node nobody has told about; before it stands the node's name."""


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One place in the network where autograd saves a tensor; the same object from step to step.

    Attributes:
        module: Path of the innermost module that was running, as in ``named_modules()``; its class name in angle
            brackets if the module is not part of the model, and ``""`` for the model itself.
        op: The operation that saved, as torch names it (``linear``, ``softmax``, ``mul``).
        call: Which of the calls of this op within one run of the module, from 0.
        slot: Which of the tensors saved by that call, from 0.
    """

    module: str
    op: str
    call: int = 0
    slot: int = 0
    key: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        name = f"{self.module}\0{self.op}\0{self.call}\0{self.slot}"
        digest = blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()  # a name may be any str
        object.__setattr__(self, "key", int.from_bytes(digest, "little"))

    def __str__(self) -> str:
        call = f"#{self.call}" if self.call else ""
        return f"{self.module or '(model)'}: {self.op}{call}[{self.slot}]"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was done with one saved tensor.

    Attributes:
        codec: ``"groups"``, ``"mask"``, ``"integers"``, ``"sparse"``, ``"derived"`` or ``"keep"``.
        bits: Width of a code; 0 for a kept or derived tensor.
        reason: Why the tensor was left alone; empty for others.
    """

    codec: str
    bits: int = 0
    reason: str = ""

    @staticmethod
    @cache
    def keep(reason: str) -> Decision:
        """The decision to leave a tensor alone, with the reason that the report gives."""
        return Decision("keep", 0, reason)

    @staticmethod
    @cache
    def code(codec: str, bits: int) -> Decision:
        """The decision to hold a tensor in a code."""
        return Decision(codec, bits)

    @staticmethod
    @cache
    def derived() -> Decision:
        """The decision to rebuild a tensor from others that are held."""
        return Decision("derived")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a compressor was asked for; checked.

    Attributes:
        bits: Average width of a code.
        adaptive: Whether widths follow measured sensitivities.
        probe_interval: Steps between two measurements; None for none after the first.
        group_size: Elements that share a minimum and a scale.
        min_bytes: Tensors smaller than this are left alone; None to decide that by their share.
        ratio: Compression ratio to be reached instead of an average width.
        memory: Bytes that may be held after forward instead of an average width.
        estimator: How sensitivities are measured: ``"grouped"`` or ``"exhaustive"``.
        objective: What widths make least: the noise of the ``"gradient"`` or of the ``"update"``.
        max_noise: Greatest gradient noise, as a share of the gradient's variance from batch to batch.
        derive: Whether tensors are rebuilt where their sources are held.
        offload: Where packed data lives; None for the device.
        checkpoint: Which blocks run under checkpoint: none, the repeated ones, or those of these names.
        compress_again: Whether what those blocks save when they run again is compressed too.
        seed: Key of the rounding.
        enabled: Whether anything is compressed at all.
    """

    bits: float
    adaptive: bool
    probe_interval: int | None
    group_size: int
    min_bytes: int | None
    derive: bool
    offload: str | None
    checkpoint: bool | tuple[str, ...]
    seed: int
    ratio: float | None = None
    memory: int | None = None
    max_noise: float | None = None
    estimator: str = "grouped"
    objective: str = "gradient"
    enabled: bool = True
    compress_again: bool = False

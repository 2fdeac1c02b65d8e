"""Records that the other modules pass to each other. This file imports nothing of the package."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b


@dataclass(frozen=True, slots=True)
class Site:
    """One place in the network where autograd saves a tensor; the same from step to step.

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
    key: int = field(init=False, compare=False, repr=False, default=0)

    def __post_init__(self) -> None:
        digest = blake2b(f"{self.module}\0{self.op}\0{self.call}\0{self.slot}".encode(), digest_size=8).digest()
        object.__setattr__(self, "key", int.from_bytes(digest, "little"))

    def __str__(self) -> str:
        call = f"#{self.call}" if self.call else ""
        return f"{self.module or '(model)'}: {self.op}{call}[{self.slot}]"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one saved tensor.

    Attributes:
        codec: ``"groups"`` (stochastic group quantization) or ``"keep"``.
        bits: Width of a code; 0 for a kept tensor.
        reason: Why the tensor is left alone; empty for a compressed one.
    """

    codec: str
    bits: int = 0
    reason: str = ""

    @classmethod
    def keep(cls, reason: str) -> Decision:
        """The decision to leave a tensor alone, with the reason that the report gives."""
        return cls("keep", 0, reason)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a compressor was asked for; checked.

    Attributes:
        bits: Average width of a code.
        adaptive: Whether widths follow measured sensitivities.
        probe_interval: Steps between two measurements.
        group_size: Elements that share a minimum and a scale.
        min_bytes: Tensors smaller than this are left alone.
        seed: Key of the rounding.
    """

    bits: float
    adaptive: bool
    probe_interval: int
    group_size: int
    min_bytes: int
    seed: int

"""What one attempt is to train."""

from __future__ import annotations

from dataclasses import dataclass

OPTIMIZERS = ("adamw", "sgd")


@dataclass(frozen=True, slots=True)
class Trial:
    """Two training steps.

    Attributes:
        factory: ``package.module:function``, called with the batch size.
        level: The level.
        batch: Samples.
        bits: Width of codes.
        optimizer: ``"adamw"``, with eight bytes of state for each parameter, or ``"sgd"``, with none.
        scratch: Directory for codes that lie elsewhere; None for that of temporary files.
    """

    factory: str
    level: str
    batch: int
    bits: int = 4
    optimizer: str = "adamw"
    scratch: str | None = None

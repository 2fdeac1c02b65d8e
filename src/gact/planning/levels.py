"""The ways of training that a plan compares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """A way of training, by the paper's name.

    Attributes:
        name: Its name.
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

"""Plans: what every way of training would take, what fits, and which is the fastest that does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ..levels import level_of, offload_of
from .applied import AppliedPlan, applied, applied_level
from .mix import Mix
from .scaling import Largest

MIX = "mix"


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """What one way of training would take.

    Attributes:
        name: ``"L0"``, ``"checkpointing"``, ``"L1"``, ``"L2"``, ``"CB1"``, ``"CB2"`` or ``"mix"``.
        peak_bytes: Highest bytes in a step of the example: tensors alive, and the optimizer's state.
        fits: Whether that is within the memory; None if no memory was given.
        seconds: Predicted time of a step of the example; None for exchanged attention, whose speed is not known.
        batch: Largest batch that fits.
        sequence: Largest sequence that fits with the example's batch.
    """

    name: str
    peak_bytes: int
    fits: bool | None
    seconds: float | None
    batch: Largest | None = None
    sequence: Largest | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What every way of training would take, and the choice.

    Attributes:
        memory: Bytes that a step may take; None if none were given.
        batch: Samples in the example.
        length: Length of its sequence; None if there is none.
        bits: Width of codes in the levels.
        optimizer_bytes: Bytes of the optimizer's state, part of every peak.
        levels: What each level takes.
        choice: Name of the fastest way that fits; ``""`` if none does or no memory was given.
        mix: The fastest mix of techniques that fits, where plain training does not.
        note: What to know besides.
        offload: Directory that codes may be moved to; None if none was given.
    """

    memory: int | None
    batch: int
    length: int | None
    bits: int
    optimizer_bytes: int
    levels: tuple[LevelPlan, ...]
    choice: str = ""
    mix: Mix | None = None
    note: str = ""
    offload: str | None = None

    def __str__(self) -> str:
        from .table import text

        return text(self)

    def level(self, name: str) -> LevelPlan:
        """What one way takes.

        Raises:
            ValueError: If the plan has none of that name.
        """
        for each in self.levels:
            if each.name == name:
                return each
        raise ValueError(f"this plan has {', '.join(repr(each.name) for each in self.levels)}, got {name!r}.")

    def apply(self, model: nn.Module, level: str | None = None, **options: Any) -> AppliedPlan:
        """A context around forward that trains as planned.

        Codes that are to lie elsewhere go to the directory of the plan; without one, to host memory, or to a file in
        the directory for temporary files where the model is on the CPU. ``"CB2"`` switches the attention of the model
        for good.

        Args:
            model: The network.
            level: A level instead of the choice.
            **options: More arguments of ``Compressor``. Widths are as planned (``adaptive=False``) unless they say so.

        Raises:
            ValueError: If nothing was chosen, or there is no such level.
        """
        name = self.choice if level is None else level
        if not name:
            raise ValueError(f"this plan has chosen nothing: {self.note} Pass level=, or plan for more memory.")
        offload = None if self.offload is None else f"disk:{self.offload}"
        if name != MIX or self.mix is None:
            settings = {"adaptive": False, "bits": self.bits, **options}
            return applied_level(model, level_of(name), offload, settings)
        settings = {"adaptive": False, "bits": self.mix.bits(), "rules": self.mix.rules(), **options}
        if self.mix.offloaded:
            settings = {"offload": offload or offload_of(model), **settings}
        return applied(model, self.mix.compresses, self.mix.recomputed or False, settings)

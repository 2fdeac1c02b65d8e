"""Plans: what every way of training would take, what fits, and which is the fastest that does; as data and text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from torch import nn

from ..levels import level_of, offload_of
from ..text import aligned, sized
from .applied import AppliedPlan, applied, applied_level
from .mix import Assignment, Mix
from .scaling import Largest

T = TypeVar("T")
MIX = "mix"
WAYS = {
    "L0": "plain training",
    "checkpointing": "repeated blocks keep their inputs and run again in backward",
    "L1": "saved tensors in codes",
    "L2": "as L1, with codes moved out of the device's memory",
    "CB1": "repeated blocks keep their inputs in codes and run again, in codes too",
    "CB2": "as CB1, with attention that keeps no matrix of probabilities",
    MIX: "for each block the way that pays most",
}
"""What each way of training is."""
_FORMAT = 1
"""Of the file of a plan."""


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
        return text(self)

    @property
    def use(self) -> str:
        """What to write, in a line."""
        if self.memory is None:
            return 'plan with memory="8 GiB" or device="T4" to have a way chosen'
        if not self.choice:
            most = max((each.batch.size for each in self.levels if each.batch), default=0)
            return f"a batch of {most}, or more memory" if most else "more memory, or a smaller model"
        if self.choice == "L0":
            return "plain training, which fits"
        bits = f"bits={self.bits}"
        if self.choice == "L1":
            return f"gact.Compressor(model, {bits})"
        if self.choice in ("L2", "CB1", "CB2"):
            place = f', offload="disk:{self.offload}"' if self.choice == "L2" and self.offload else ""
            return f'gact.Compressor.from_level(model, "{self.choice}", {bits}{place})'
        return 'gact.Plan.load("plan.json").apply(model), after plan.save("plan.json") or gact plan --save plan.json'

    def to_json(self, indent: int | None = 2) -> str:
        """The plan as JSON, and what to write.

        Args:
            indent: Spaces per level, or None for one line.
        """
        return json.dumps({"plan": _FORMAT, "use": self.use, **asdict(self)}, indent=indent)

    def save(self, path: str | Path) -> None:
        """Writes the plan to a file, for ``load``."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """The plan that ``save`` or ``gact plan --save`` wrote.

        Raises:
            ValueError: If the file holds no plan, or one of another version.
        """
        try:
            return _restored(json.loads(Path(path).read_text(encoding="utf-8")))
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} holds no plan that this version can read. Plan again with --save.") from error

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


def _restored(data: dict[str, Any]) -> Plan:
    if data.pop("plan") != _FORMAT:
        raise KeyError("plan")
    del data["use"]
    levels = tuple(
        _made(
            LevelPlan, {**each, **{name: each[name] and _made(Largest, each[name]) for name in ("batch", "sequence")}}
        )
        for each in data["levels"]
    )
    mix = data["mix"]
    if mix is not None:
        mix = _made(Mix, {**mix, "assignments": tuple(_made(Assignment, each) for each in mix["assignments"])})
    return _made(Plan, {**data, "levels": levels, "mix": mix})


def _made(kind: type[T], entries: dict[str, Any]) -> T:
    """A dataclass from what a file says.

    Raises:
        TypeError: If an entry is not of the type that the class declares, or a number is below zero or no finite one.
    """
    declared = get_type_hints(kind)
    for name, value in entries.items():
        kinds = get_args(declared[name]) if isinstance(declared[name], UnionType) else (declared[name],)
        if not any(_is_a(value, get_origin(each) or each) for each in kinds):
            raise TypeError(name)
    return kind(**entries)


def _is_a(value: Any, kind: type) -> bool:
    if kind in (int, float):
        is_number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return is_number and 0 <= value < 2**63
    return isinstance(value, kind)


HEAD = ("way", "peak", "fits", "time", "largest batch", "largest sequence")


def rows(plan: Plan) -> list[tuple[str, ...]]:
    """The cells of the table, one row for each way of training."""
    plain = next((each.seconds for each in plan.levels if each.name == "L0"), None)
    return [_cells(each, plain, each.name == plan.choice) for each in plan.levels]


def _cells(level: LevelPlan, plain: float | None, chosen: bool) -> tuple[str, ...]:
    time = "-" if level.seconds is None or not plain else f"{level.seconds / plain:.2f}x"
    fits = "-" if level.fits is None else "yes" if level.fits else "no"
    name = f"{level.name} *" if chosen else level.name
    return (name, sized(level.peak_bytes), fits, time, _size(level.batch), _size(level.sequence))


def _size(found: Largest | None) -> str:
    if found is None:
        return "-"
    return str(found.size) + (" (model)" if found.limit == "model" else "")


def summary(plan: Plan) -> list[str]:
    """What was planned for, and what came out, in sentences."""
    length = "" if plan.length is None else f", sequence {plan.length}"
    memory = "" if plan.memory is None else f", memory {sized(plan.memory)}"
    lines = [
        f"batch {plan.batch}{length}, {plan.bits} bits, optimizer {sized(plan.optimizer_bytes)}{memory}",
        f"choice: {plan.choice or 'none'}" + (f"; {plan.note}" if plan.note else ""),
    ]
    if plan.mix is not None:
        lines += [f"  {each}" for each in plan.mix.assignments]
    lines += [f"{each.name:13} {WAYS[each.name]}" for each in plan.levels if each.name in WAYS]
    return [*lines, f"use: {plan.use}"]


def text(plan: Plan) -> str:
    """The table and the sentences."""
    first, *others = summary(plan)
    return "\n".join([first, aligned([HEAD, *rows(plan)], range(1, len(HEAD))), *others])

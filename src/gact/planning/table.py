"""A plan as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plan import LevelPlan, Plan
    from .scaling import Largest

HEAD = ("way", "peak GiB", "fits", "time", "largest batch", "largest sequence")


def rows(plan: Plan) -> list[tuple[str, ...]]:
    """The cells of the table, one row for each way of training."""
    plain = next((each.seconds for each in plan.levels if each.name == "L0"), None)
    return [_cells(each, plain, each.name == plan.choice) for each in plan.levels]


def _cells(level: LevelPlan, plain: float | None, chosen: bool) -> tuple[str, ...]:
    time = "-" if level.seconds is None or not plain else f"{level.seconds / plain:.2f}x"
    fits = "-" if level.fits is None else "yes" if level.fits else "no"
    name = f"{level.name} *" if chosen else level.name
    return (name, f"{level.peak_bytes / 2**30:.3f}", fits, time, _size(level.batch), _size(level.sequence))


def _size(found: Largest | None) -> str:
    if found is None:
        return "-"
    return str(found.size) + (" (model)" if found.limit == "model" else "")


def summary(plan: Plan) -> list[str]:
    """What was planned for, and what came out, in sentences."""
    length = "" if plan.length is None else f", sequence {plan.length}"
    memory = "" if plan.memory is None else f", {plan.memory / 2**30:.2f} GiB"
    lines = [
        f"batch {plan.batch}{length}, {plan.bits} bits, optimizer {plan.optimizer_bytes / 2**30:.3f} GiB{memory}",
        f"choice: {plan.choice or 'none'}" + (f"; {plan.note}" if plan.note else ""),
    ]
    if plan.mix is not None:
        lines += [f"  {each}" for each in plan.mix.assignments]
    return lines


def text(plan: Plan) -> str:
    """The table and the sentences."""
    cells = [HEAD, *rows(plan)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    body = [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    first, *others = summary(plan)
    return "\n".join([first, *body, *others])

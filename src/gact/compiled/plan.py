"""What is held for backward, and how two needs of one value become one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx

from ..operators.need import Need
from .readings import Reading


@dataclass
class Plan:
    """What is held.

    Attributes:
        packed: What is held in a code, with its need.
        kept: What is held as it is, with the reason.
        made: How a value is made of others in another way than forward does: operator and arguments.
    """

    packed: dict[fx.Node, Need] = field(default_factory=dict)
    kept: dict[fx.Node, str] = field(default_factory=dict)
    made: dict[fx.Node, tuple[Any, tuple[Any, ...]]] = field(default_factory=dict)


def both(known: Need | None, reading: Reading) -> Need:
    """One need for two readings of a value.

    Args:
        known: The need of earlier ones; None if there are none.
        reading: One more.
    """
    need = reading.need
    if known is None or known.kind == need.kind == "value":
        return wider(known, need)
    return known if known.kind == "exact" else need


def wider(known: Need | None, need: Need) -> Need:
    """The need of a value that has two.

    Args:
        known: One of them; None if there is none.
        need: The other.
    """
    if known is None:
        return need
    if known.kind != "value":
        return known
    form, turn = known.form or need.form, min(known.turn or need.turn, need.turn or known.turn)
    bits, times = max(known.min_bits, need.min_bits), max(known.times, need.times)
    return replace(need, min_bits=bits, form=form, turn=turn, times=times)

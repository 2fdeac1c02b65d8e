"""What is known of the sites as plain numbers and lists, and back, with every value checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ..records import Site
from .findings import Finding
from .sightings import Presence
from .variance import WIDTHS


def to_plain(site: Site, finding: Finding, width: int) -> dict[str, Any]:
    """One site, what is known of it and the width it has."""
    return {
        "site": [site.module, site.op, site.call, site.slot],
        "width": width,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in asdict(finding).items()},
    }


def from_plain(state: Mapping[str, Any], site_of: Callable[[str, str, int, int], Site]) -> tuple[Site, Finding, int]:
    """What ``to_plain`` was given.

    Raises:
        ValueError: If a number is out of range.
        KeyError: If one is missing.
    """
    module, op, call, slot = state["site"]
    noise = tuple(number(each) for each in state["noise"])
    if len(noise) != len(WIDTHS):
        raise ValueError(f"noise of {len(noise)} widths")
    least, most, prior, width = (_width(state[name]) for name in ("least", "most", "prior", "width"))
    numels = tuple(count(each) for each in state["numels"])
    finding = Finding(numels, least, most, prior, number(state["spread"]), noise, number(state["weight"]))
    return site_of(str(module), str(op), count(call), count(slot)), finding, width


def presence_from(state: Mapping[str, Any]) -> Presence:
    """When a site took part, of the same record.

    Raises:
        ValueError: If a number is out of range.
        KeyError: If one is missing.
    """
    return Presence(count(state["seen"]), count(state["gap"]), bool(count(state["gone"])))


def number(value: Any) -> float:
    """A number from 0, finite."""
    if not 0 <= float(value) < math.inf:
        raise ValueError(f"{value!r} where a number from 0 is expected")
    return float(value)


def number_or_none(value: Any) -> float | None:
    """A number from 0, or None."""
    return None if value is None else number(value)


def count(value: Any) -> int:
    """A whole number from 0."""
    if int(value) != value or value < 0:
        raise ValueError(f"{value!r} where a whole number from 0 is expected")
    return int(value)


def expect(state: Mapping[str, Any], names: set[str]) -> None:
    """Raises unless the state has these keys and no others."""
    if set(state) != names:
        raise ValueError(f"keys {sorted(state)} instead of {sorted(names)}")


def _width(value: Any) -> int:
    if value not in WIDTHS:
        raise ValueError(f"{value!r} where a width from 1 to 8 is expected")
    return int(value)

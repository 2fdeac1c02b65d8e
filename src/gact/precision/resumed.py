"""The state of a controller as it is saved, read back with every value checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..records import Site
from .findings import Finding, Totals
from .probe import Snapshot
from .schedule import Schedule
from .sightings import Presence
from .state import count, expect, from_plain, number_or_none, presence_from


class Resumed(NamedTuple):
    """What a controller takes up; each is the attribute of ``Controller`` of that name."""

    findings: dict[Site, Finding]
    widths: dict[Site, int]
    presences: dict[Site, Presence]
    noise: float | None
    batch_variance: float | None
    passes: int
    is_used: bool
    over_budget: bool
    turns: int
    totals: Totals
    elements: tuple[int, ...]
    schedule: Schedule
    failure: str
    snapshot: Snapshot | None

    @classmethod
    def checked(
        cls,
        state: Mapping[str, Any],
        names: set[str],
        interval: int | None,
        site_of: Callable[[str, str, int, int], Site],
        named: Mapping[str, Tensor],
    ) -> Resumed:
        """What ``Controller.state`` returned.

        Args:
            state: The state.
            names: Keys that it must have.
            interval: Steps between two measurements.
            site_of: Gives the site of four names.
            named: Parameters by name.

        Raises:
            ValueError: If it is no such state.
        """
        try:
            expect(state, names)
            sites = [from_plain(each, site_of) for each in state["sites"]]
            presences = [presence_from(each) for each in state["sites"]]
            return cls(
                findings={site: finding for site, finding, _ in sites},
                widths={site: width for site, _, width in sites},
                presences={site: presence for (site, *_), presence in zip(sites, presences, strict=True)},
                noise=number_or_none(state["noise"]),
                batch_variance=number_or_none(state["batch_variance"]),
                passes=count(state["passes"]),
                is_used=bool(count(state["is_used"])),
                over_budget=bool(count(state["over_budget"])),
                turns=count(state["turns"]),
                totals=Totals(*map(count, state["totals"])),
                elements=tuple(map(count, state["elements"])),
                schedule=Schedule.load(interval, state["schedule"]),
                failure=str(state["failure"]),
                snapshot=None if state["snapshot"] is None else Snapshot.of_state(state["snapshot"], named),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the precision state is damaged ({error!r}). Pass what state_dict() returned.") from error

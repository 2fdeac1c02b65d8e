"""What ordinary steps show of the sites: who takes part, with how many elements.

NOTE: Sites that are gone
A module may be removed, a branch not be taken any more, a loss be left out. What was measured of its sites is then no
claim on the budget, but sites that come by turns (two losses, stochastic depth) must not come and go with every step.
So a site is gone once it has not been seen for a while that is long in itself, and long against the longest time it
was ever away. What is known of it stays: when it is seen again, it takes part again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..codecs.groups import Groups
from ..ops.checks import code_bytes
from ..records import Site

_PATIENCE = 64
"""Steps for which a site may always be away."""
_ABSENCES = 4
"""And how many times as long as it ever was."""
Names = tuple[str, str, int, int]


@dataclass(slots=True)
class Presence:
    """When a measured site took part.

    Attributes:
        seen: The last step.
        gap: The longest distance of two steps in which it was seen one after the other.
        gone: Whether it is left out of the budget.
    """

    seen: int
    gap: int = 1
    gone: bool = False

    def is_away(self, number: int) -> bool:
        """Whether it has not been seen for too long in a step of this number."""
        return number - self.seen > max(_PATIENCE, _ABSENCES * self.gap)


class Sightings:
    """Which sites a step saves at, and which measured sites have not been seen for long.

    Attributes:
        known: Elements that the step has saved at sites that were measured.
        unknown: At others.
        coded: Bytes of the codes at the measured ones.
    """

    def __init__(self) -> None:
        self.known = self.unknown = self.coded = 0
        self._numels: dict[Site, list[int]] = {}
        self._presences: dict[Site, Presence] = {}
        self._gone: set[Site] = set()

    def begin_step(self) -> None:
        """Forgets how much the last step saved."""
        self.known = self.unknown = self.coded = 0
        self._numels = {}

    def saw(self, site: Site, numel: int, code: Groups, number: int) -> bool:
        """Notes a code of an ordinary step; whether its site was measured."""
        if site not in self._presences:
            self.unknown += numel
            return False
        self.known += numel
        self.coded += code_bytes(numel, code.bits)
        self._numels.setdefault(site, []).append(numel)
        self.note(site, number)
        return True

    def note(self, site: Site, number: int) -> None:
        """Notes that a site takes part in a step; from then on it counts as measured."""
        presence = self._presences.get(site)
        if presence is None:
            self._presences[site] = Presence(number)
            return
        if number - presence.seen > presence.gap:
            presence.gap = number - presence.seen
        presence.seen = max(number, presence.seen)

    def numels(self) -> Mapping[Site, list[int]]:
        """Elements of each tensor that the step has saved at measured sites."""
        return self._numels

    def is_gone(self, site: Site) -> bool:
        """Whether a site is left out of the budget."""
        return site in self._gone

    def returned(self, number: int) -> bool:
        """Counts sites in again that were seen again; returns whether there are any."""
        back = [site for site in self._gone if not self._presences[site].is_away(number)]
        self._mark(back, False)
        return bool(back)

    def vanished(self, number: int) -> bool:
        """Leaves out the sites that have not been seen for too long; whether there are any new ones."""
        away = [site for site, each in self._presences.items() if site not in self._gone and each.is_away(number)]
        self._mark(away, True)
        return bool(away)

    def times(self) -> dict[Names, tuple[int, int]]:
        """When the sites were seen, for other ranks."""
        return {
            (site.module, site.op, site.call, site.slot): (each.seen, each.gap)
            for site, each in self._presences.items()
        }

    def merge(self, times: Mapping[Names, tuple[int, int]], site_of: Callable[..., Site]) -> None:
        """Merges when other ranks have seen the sites."""
        for names, (seen, gap) in sorted(times.items()):
            presence = self._presences.setdefault(site_of(*names), Presence(seen, gap))
            presence.seen, presence.gap = max(seen, presence.seen), max(gap, presence.gap)

    def state(self, site: Site) -> dict[str, Any]:
        """What is known of one site, in plain values."""
        each = self._presences[site]
        return {"seen": each.seen, "gap": each.gap, "gone": each.gone}

    def load(self, presences: Mapping[Site, Presence], elements: Iterable[int]) -> None:
        """Sets what ``state`` gave of each site, and the elements that the last step saved."""
        self.begin_step()
        self.known, self.unknown = elements
        self._presences = dict(presences)
        self._gone = {site for site, each in presences.items() if each.gone}

    def _mark(self, sites: Iterable[Site], gone: bool) -> None:
        for site in sites:
            self._presences[site].gone = gone
            (self._gone.add if gone else self._gone.discard)(site)

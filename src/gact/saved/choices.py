"""The forms that regions were given, by site: each holds for some steps, then the next region is looked at anew.

NOTE: When
All regions of a site are looked at anew in the same steps, which its key and the number of the step tell, so that no
step looks at all of them and a resumed run looks when one that never stopped does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..codecs.choice import Choice, Kind, kind_of
from ..ops.boxes import Grid
from ..records import Site

_STEPS = 16
"""So many steps a choice holds."""
_MOST = 2**14
"""Choices that are known at once; the oldest ones go."""


class _Known(NamedTuple):
    """A choice, of what, and in which period it was made."""

    kind: Kind
    period: int
    choice: Choice


class Choices:
    """The choices of a training."""

    def __init__(self) -> None:
        self._known: dict[tuple[Site, int], _Known] = {}

    def of(self, site: Site, count: int, step: int, region: Tensor, form: str) -> Choice:
        """The choice of a region, to be made if it is not.

        Args:
            site: Its site.
            count: How many regions the site has had in this step.
            step: Number of the step.
            region: The region.
            form: What its consumer reads.
        """
        kind = kind_of(region, form)
        if kind is None:
            return Choice()
        period, place = (step + site.key % _STEPS) // _STEPS, (site, count)
        known = self._known.get(place)
        if known is None or known.period != period or known.kind != kind:
            self._known.pop(place, None)  # the last one is the youngest
            known = self._known[place] = _Known(kind, period, Choice())
            if len(self._known) > _MOST:
                del self._known[next(iter(self._known))]
        return known.choice

    def state(self) -> list[list[Any]]:
        """What a resumed run needs, in plain texts and numbers."""
        return [
            [
                *(site.module, site.op, site.call, site.slot, count),
                *(list(kind.size), list(kind.stride), kind.dtype, kind.form, period),
                *(choice.has_columns, None if choice.grid is None else list(choice.grid)),
            ]
            for (site, count), (kind, period, choice) in self._known.items()
            if choice.is_made
        ]

    def load(self, other: Choices) -> None:
        """Takes up what another one knows."""
        self._known = other._known

    @classmethod
    def checked(cls, state: Any, site_of: Callable[[str, str, int, int], Site]) -> Choices:
        """The choices that ``state`` told.

        Args:
            state: What it returned.
            site_of: Gives the site of four names.

        Raises:
            ValueError: If it is no such state.
        """
        choices = cls()
        try:
            if isinstance(state, Mapping):
                raise TypeError("a mapping where a list is expected")
            for module, op, call, slot, count, size, stride, dtype, form, period, has_columns, grid in state:
                place = site_of(str(module), str(op), int(call), int(slot)), int(count)
                kind = Kind(tuple(map(int, size)), tuple(map(int, stride)), str(dtype), str(form))
                choice = Choice()
                choice.make(bool(has_columns), None if grid is None else _grid(grid, kind))
                choices._known[place] = _Known(kind, int(period), choice)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the choices of forms are damaged ({error}). Pass what state_dict() returned.") from error
        return choices


def _grid(numbers: Any, kind: Kind) -> Grid:
    """Boxes of a region of that kind; others would read beyond it."""
    grid, numel = Grid(*map(int, numbers)), 1
    for extent in kind.size:
        numel *= extent
    if min(grid) < 1 or grid.high * grid.wide * grid.channels != numel:
        raise ValueError(f"boxes {tuple(grid)} of a region of size {kind.size}")
    return grid

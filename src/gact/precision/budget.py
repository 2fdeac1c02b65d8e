"""What may be spent on codes, and the widths that spend it best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..ops.checks import code_bytes
from ..records import Settings
from .allocation import allocate
from .findings import Finding, Totals
from .variance import WIDTHS

_FLOOR = 1e-3
"""A site is taken to cause at least this share of the noise that it would by its elements alone."""
_HALVINGS = 24
_WORTH = 0.9
"""Widths change if that takes at least a tenth of the objective away."""


class Widths(NamedTuple):
    """A width for every site, and what they come to.

    Attributes:
        bits: The widths.
        noise: Gradient noise.
        cost: The objective.
        nbytes: Bytes of the codes.
    """

    bits: list[int]
    noise: float
    cost: float
    nbytes: int


class Options:
    """The noise, the objective and the bytes of every width of every site.

    Args:
        findings: What is known of each site.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = findings
        allowed = torch.tensor([[each.least <= bits <= each.most for bits in WIDTHS] for each in findings])
        noise = torch.tensor([each.noise for each in findings], dtype=torch.float64)
        weight = torch.tensor([each.weight for each in findings], dtype=torch.float64)
        self._noise = _floored(noise, findings)
        self._cost = _floored(noise * weight[:, None], findings)
        self._allowed_cost = torch.where(allowed, self._cost, torch.inf)
        self._nbytes = torch.tensor([[_bytes(each, bits) for bits in WIDTHS] for each in findings])

    def within(self, budget: int) -> Widths:
        """The widths for which the objective is least within so many bytes."""
        return self._of(allocate(self._allowed_cost, self._nbytes, budget).choice)

    def below(self, noise: float) -> Widths:
        """Those of the fewest bytes with so little noise; the greatest widths if even they cause more."""
        low, high = 0, int(self._nbytes.amax(1).sum())
        best = self.within(high)
        if best.noise > noise:
            return best
        for _ in range(_HALVINGS):
            middle = (low + high) // 2
            found = self.within(middle)
            if found.noise <= noise and found.nbytes <= middle:
                best, high = found, middle
            else:
                low = middle
        return best

    def chosen(self, budget: int, limit: float | None, before: Sequence[int | None]) -> Widths:
        """The widths to have from now on: the best ones, or those of before where the change is not worth it.

        Args:
            budget: Bytes that the codes may take.
            limit: Greatest gradient noise, which goes before the budget; None for any.
            before: The widths of now; None for a site that has none.
        """
        best = self.within(budget) if limit is None else self.below(limit)
        had = [bits for bits in before if bits is not None]
        if len(had) < len(before):
            return best
        now = self.of(had)
        good_enough = now.cost * _WORTH <= best.cost and now.nbytes <= budget if limit is None else now.noise <= limit
        return now if good_enough and now.nbytes * _WORTH <= best.nbytes else best

    def of(self, widths: Sequence[int]) -> Widths:
        """What given widths come to."""
        return self._of(torch.tensor(widths) - 1)

    def _of(self, choice: Tensor) -> Widths:
        at = choice[:, None]
        noise, cost = (float(each.gather(1, at).sum()) for each in (self._noise, self._cost))
        return Widths((choice + 1).tolist(), noise, cost, int(self._nbytes.gather(1, at).sum()))

    def budget(self, settings: Settings, totals: Totals) -> int:
        """Bytes that the codes may take under what the user asked for."""
        if settings.memory is not None:
            return settings.memory - totals.fixed
        if settings.ratio is not None:
            return int(totals.plain / settings.ratio) - totals.fixed
        return sum(_share(each, settings.bits) for each in self._findings)


def _share(finding: Finding, bits: float) -> int:
    """A site's bytes at the average width, or at the one it has without measurement if that is greater."""
    low = math.floor(bits)
    part = bits - low
    nbytes = [_bytes(finding, min(max(each, finding.prior), finding.most)) for each in (low, low + 1)]
    return int(nbytes[0] * (1 - part) + nbytes[1] * part)


def _bytes(finding: Finding, bits: int) -> int:
    """Bytes of a site's codes; the metadata does not depend on the width."""
    return sum(code_bytes(numel, bits) for numel in finding.numels)


def _floored(noise: Tensor, findings: Sequence[Finding]) -> Tensor:
    """The noise, where a site that seemed to cause none still causes a little."""
    numel = torch.tensor([sum(each.numels) for each in findings], dtype=torch.float64)
    alone = noise.sum(0)[None, :] * (numel / numel.sum())[:, None]
    return torch.maximum(noise, alone * _FLOOR)

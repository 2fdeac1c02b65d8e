"""What may be spent on codes, and the widths that spend it best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..ops.checks import code_bytes
from ..records import Settings
from .allocation import Allocation, allocate
from .findings import Finding, Totals
from .variance import WIDTHS

_FLOOR = 1e-3
"""A site is taken to cause at least this share of the noise that it would by its elements alone."""
_HALVINGS = 24


class Options:
    """The noise and the bytes of every width of every site.

    Args:
        findings: What is known of each site.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = findings
        allowed = torch.tensor([[each.least <= bits <= each.most for bits in WIDTHS] for each in findings])
        self.noise = _floored(torch.tensor([each.noise for each in findings], dtype=torch.float64), findings)
        self._allowed_noise = torch.where(allowed, self.noise, torch.inf)
        self.nbytes = torch.tensor([[_bytes(each, bits) for bits in WIDTHS] for each in findings])

    def within(self, budget: int) -> Allocation:
        """The least noise for so many bytes."""
        return allocate(self._allowed_noise, self.nbytes, budget)

    def below(self, noise: float) -> Allocation:
        """The fewest bytes for so little noise; the greatest widths if even they cause more."""
        low, high = 0, int(self.nbytes.amax(1).sum())
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

    def of(self, widths: Sequence[int]) -> tuple[float, int]:
        """Noise and bytes of given widths."""
        at = torch.tensor(widths)[:, None] - 1
        return float(self.noise.gather(1, at).sum()), int(self.nbytes.gather(1, at).sum())

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

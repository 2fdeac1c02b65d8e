"""What is known of the sites, and the widths that are chosen from it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..operators.need import Need
from ..records import Settings, Site
from ..saved.ledger import Ledger
from .budget import Options
from .figures import brought
from .findings import Finding, Reach, Totals
from .sightings import Sightings
from .suffering import Suffered, Suffering

_NOISY, _NOTABLE = 0.5, 0.1
"""Predicted noise that is told of: more than a half of the variance from batch to batch (of the gradient itself while
that is not known), and more than a tenth of the gradient."""


class Known:
    """The findings, and a width for every site.

    Args:
        settings: The budget.

    Attributes:
        findings: What is known of each site.
        widths: The width of each of them.
        noise: Predicted gradient noise |g - g0|^2 / |g0|^2 of the widths in use; None before any measurement.
        batch_variance: Variance of the gradient from batch to batch, relative to its squared norm, as estimated from
            two batches after a measurement.
        over_budget: Whether the widths take more than was asked for, because the budget is below what is possible or
            because ``max_noise`` could not be met within it.
        reach: What was asked for and what the widths come to; None before any measurement.
        suffering: Which parameters suffer, of the last loss that was measured; None before.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._start_anew()

    def _start_anew(self) -> None:
        """Knows nothing."""
        self.findings: dict[Site, Finding] = {}
        self.widths: dict[Site, int] = {}
        self.noise: float | None = None
        self.batch_variance: float | None = None
        self.over_budget = False
        self.reach: Reach | None = None
        self.suffering: Suffering | None = None
        self._totals = Totals(0, 0)
        self._sightings = Sightings()
        self._spreads: dict[Site, list[tuple[Tensor | float, int]]] = {}

    @property
    def is_noisy(self) -> bool:
        """Whether the predicted noise is more than training may bear."""
        noise = self.noise
        return noise is not None and noise > max(_NOISY * (self.batch_variance or 1.0), _NOTABLE)

    def width(self, site: Site, needed: Need) -> int:
        """Width of a site's codes."""
        measured = self.widths.get(site) if self.settings.adaptive else None  # they may come from a state
        bits = measured or max(int(self.settings.bits), needed.prior_bits)
        return min(max(bits, needed.min_bits), needed.max_bits)

    def noise_share(self, site: Site) -> float | None:
        """Share of the predicted noise that a site's width causes; None if it was not measured."""
        finding = self.findings.get(site)
        if finding is None or not self.noise or self._sightings.is_gone(site):
            return None
        return finding.noise[self.widths[site] - 1] / self.noise

    def worst(self, count: int) -> list[Suffered]:
        """The parameters whose own gradients have most noise at the widths in use; none before any measurement."""
        if self.suffering is None:
            return []
        findings, widths = self.findings, self.widths
        sites = (site for site in findings if site in widths and not self._sightings.is_gone(site))
        return self.suffering.worst({site: findings[site].noise[widths[site] - 1] for site in sites}, count)

    def _resize(self, ledger: Ledger) -> None:
        """Replaces the sizes of the measured step by those of another, which may have been part of a batch."""
        self._totals = Totals(ledger.plain_bytes, max(ledger.kept_bytes - self._sightings.coded, 0))
        for site, numels in self._sightings.numels().items():
            finding = self.findings[site]
            # Noise goes by the mean range, as it is relative to the gradient, which grows as well.
            spread = finding.spread * sum(numels) / max(sum(finding.numels), 1)
            self.findings[site] = replace(finding, numels=tuple(numels), spread=spread)

    def _follow(self) -> bool:
        """Scales the noise of each site with the ranges of its groups."""
        spreads, self._spreads = self._spreads, {}
        shown = brought([torch.as_tensor(spread) for seen in spreads.values() for spread, _ in seen])
        for site, seen in spreads.items():
            here, shown = shown[: len(seen)], shown[len(seen) :]
            self.findings[site] = self.findings[site].followed([(s, n) for s, (_, n) in zip(here, seen, strict=True)])
        return bool(spreads)

    def _choose(self) -> None:
        """The widths of least noise within the budget, or of fewest bytes within the limit of the noise."""
        sites = [site for site in self.findings if not self._sightings.is_gone(site)]
        if not sites:
            return
        options = Options([self.findings[site] for site in sites])
        budget = options.budget(self.settings, self._totals)
        limit = None
        if self.settings.max_noise is not None and self.batch_variance:
            limit = self.settings.max_noise * self.batch_variance
        chosen = options.chosen(budget, limit, [self.widths.get(site) for site in sites])
        self.over_budget = chosen.nbytes > max(budget, 0)
        self.reach = Reach(self._totals, budget, chosen.nbytes, by_noise=limit is not None)
        self.widths.update(zip(sites, chosen.bits, strict=True))
        self.noise = sum(self.findings[site].noise[self.widths[site] - 1] for site in sites)

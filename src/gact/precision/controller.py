"""The precision controller: which width each site has, from what was measured last."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn

from ..codecs.groups import Groups
from ..operators.need import Need
from ..records import Settings, Site
from ..saved.ledger import Ledger
from .agreement import agree, is_distributed, mean_over_ranks
from .budget import Options
from .findings import Finding, Result, Totals
from .measurement import Measured, Measurement
from .probe import Snapshot
from .refusal import RefusedError, refused_by_model
from .schedule import Schedule
from .sightings import Sightings
from .state import count, expect, from_plain, number_or_none, presence_from, to_plain

_TRACKINGS = 20
"""How often in an interval the ranges of the tensors are looked at."""
_UNKNOWN_SHARE = 0.05
"""Share of elements at sites never measured that calls for a measurement before its time."""
_LARGER = 1.02
"""A step that keeps this many times the bytes of the measured one is what the budget is for: that was a part of it."""
_LOOKS = 16
"""Every how many steps it is looked for sites that are gone."""


class Controller:
    """Chooses the width of every site.

    Between measurements a site's noise is taken to follow the ranges of its groups.

    Args:
        settings: The budget and the interval.
        site_of: Gives the site of four names.

    Attributes:
        findings: What is known of each site.
        passes: Backward passes that measurements have run.
        noise: Predicted gradient noise |g - g0|^2 / |g0|^2 of the widths in use; None before any measurement.
        batch_variance: Variance of the gradient from batch to batch, relative to its squared norm, as estimated from
            two batches after a measurement.
        over_budget: Whether the widths take more than was asked for, because the budget is below what is possible or
            because ``max_noise`` could not be met within it.
        is_used: Whether backward runs through the compressor, without which nothing can be measured.
        failure: Why measuring was given up; empty while it was not.
    """

    def __init__(self, settings: Settings, site_of: Callable[[str, str, int, int], Site]) -> None:
        self.settings = settings
        self.findings: dict[Site, Finding] = {}
        self.widths: dict[Site, int] = {}
        self.passes = 0
        self.noise: float | None = None
        self.batch_variance: float | None = None
        self.over_budget = False
        self.is_used = False
        self.failure = ""
        self.snapshot: Snapshot | None = None
        self._schedule = Schedule(settings.probe_interval)
        self._site_of = site_of
        self._totals = Totals(0, 0)
        self._sightings = Sightings()
        self._number, self._ledger = 0, cast("Ledger | None", None)
        self._measured: Measured | None = None
        self._tracking = False
        self._spreads: dict[Site, list[tuple[Tensor | float, int]]] = {}

    def width(self, site: Site, needed: Need) -> int:
        """Width of a site's codes."""
        bits = self.widths.get(site) or max(int(self.settings.bits), needed.prior_bits)
        return min(max(bits, needed.min_bits), needed.max_bits)

    def noise_share(self, site: Site) -> float | None:
        """Share of the predicted noise that a site's width causes; None if it was not measured."""
        finding = self.findings.get(site)
        if finding is None or not self.noise or self._sightings.is_gone(site):
            return None
        return finding.noise[self.widths[site] - 1] / self.noise

    def use(self, model: nn.Module | None) -> None:
        """Notes that backward runs through the compressor; gives up measuring where the model does not bear it."""
        if not self.is_used and self.settings.adaptive and not self.failure:
            self.failure = refused_by_model(model)
        self.is_used = True

    def request(self, model: nn.Module | None) -> None:
        """Has the next step measure, whatever is due, and the steps after it until one succeeds.

        Raises:
            RefusedError: If the backward of the model cannot be run twice.
        """
        if reason := refused_by_model(model):
            raise RefusedError(f"sensitivities cannot be measured: {reason} Leave widths as they are.")
        self.failure = ""
        self._schedule.request()

    def begin_step(self, number: int, ledger: Ledger) -> Measurement | None:
        """Takes up a new step; the measurement to be made in it, if one is due.

        Args:
            number: Number of the step.
            ledger: Where its bytes will be counted.
        """
        measurement = self._measurement(number, ledger)
        if measurement is not None:
            self._measured = Measured(number, ledger, measurement)
        elif self._measured is not None and self._measured.number < number - 1:
            self._measured = None
        return measurement

    def measured(self) -> Measured | None:
        """The measurement of the current step or of the one before, whose other losses may come later."""
        return self._measured

    def _measurement(self, number: int, ledger: Ledger) -> Measurement | None:
        if not (self._schedule.requested or (self.settings.adaptive and self.is_used)) or self.failure:
            return None
        # Ranks may differ in what they saw, and must not differ in when they measure and in their widths.
        alone = not is_distributed()
        self._settle(number, alone)
        known, unknown = self._sightings.known, self._sightings.unknown
        due = self._schedule.is_due(number, alone and unknown > _UNKNOWN_SHARE * (known + unknown))
        self._tracking = alone and bool(self.findings) and not due and self._schedule.is_part(number, _TRACKINGS)
        self._sightings.begin_step()
        self._number, self._ledger = number, None if due or not alone else ledger
        return Measurement(self.settings, number) if due else None

    def saw(self, site: Site, numel: int, code: Groups) -> None:
        """Notes the code that a site was given in an ordinary step."""
        if self._sightings.saw(site, numel, code, self._number) and self._tracking:
            spread = code.spread()
            self._spreads.setdefault(site, []).append((spread if spread.is_cuda else float(spread), numel))

    def measure(
        self, measurement: Measurement, number: int, totals: Totals, loss: Tensor, gradient: Tensor | None
    ) -> None:
        """Runs a measurement and chooses widths anew.

        Args:
            measurement: That of the step, before the backward pass of its loss.
            number: Number of the step.
            totals: Bytes of the step; ``fixed`` includes the finer codes.
            loss: The loss.
            gradient: Gradient with respect to it.
        """
        result: Result | None = None
        try:
            result = measurement.run(loss, gradient, totals)
        except RefusedError as error:
            self.failure = str(error)
        except Exception as error:  # whatever a second backward pass runs into: the first one may still succeed
            self.failure = f"{type(error).__name__}: {error}"
        if is_distributed():
            result = agree(result and replace(result, times=self._sightings.times()), self._site_of)
            if result is None and not self.failure:
                self.failure = "measuring failed on another rank"
        if result is not None:
            self.learn(result, number)

    def learn(self, result: Result, number: int) -> None:
        """Takes up what was measured in a step."""
        self.passes += result.passes
        finite = {site: each for site, each in result.findings.items() if all(map(math.isfinite, each.noise))}
        if not math.isfinite(result.energy) or not any(any(each.noise) for each in finite.values()):
            # An overflow of the scaled loss, a loss that reads nothing of the step, or a gradient of zero, by which
            # every width would seem enough: the next step will do.
            return
        if self._schedule.is_settled:  # at the beginning, what was known is soon no longer true
            finite = {site: each.blended(self.findings.get(site)) for site, each in finite.items()}
        self._schedule.succeeded(number)
        self._totals = result.totals
        self.snapshot = result.snapshot
        self.findings.update(finite)
        for site in finite:
            self._sightings.note(site, number)
        if is_distributed():
            self._sightings.merge(result.times, self._site_of)
            self._sightings.vanished(number)
        self._sightings.returned(number)
        self._choose()

    def learn_variance(self, snapshot: Snapshot) -> None:
        """Takes up the variance of the gradient from batch to batch, if the two gradients were of the same leaves."""
        variance = snapshot.variance()
        if is_distributed():
            variance = mean_over_ranks(variance)
        snapshot.tries -= 1
        if math.isfinite(variance) or not snapshot.tries:
            self.snapshot = None
        if math.isfinite(variance):
            self.batch_variance = variance
            if self.settings.max_noise is not None:
                self._choose()

    def _settle(self, number: int | None, alone: bool) -> None:
        """Takes up what the step before has shown, and chooses anew if that pays.

        Args:
            number: Number of the new step; None if there is none yet.
            alone: Whether no other ranks take part, which have seen something else.
        """
        others = False
        if alone and number is not None:
            others = self._sightings.returned(number)
            others |= number % _LOOKS == 0 and self._sightings.vanished(number)
        ledger, self._ledger = self._ledger, None
        grown = ledger is not None and bool(self.findings) and ledger.plain_bytes > _LARGER * self._totals.plain
        if ledger is not None and (others or grown):
            self._resize(ledger)
        if self._follow() or others or grown:
            self._choose()

    def _resize(self, ledger: Ledger) -> None:
        """Takes up the sizes of a step instead of those of the measured one, which may have been part of a batch."""
        self._totals = Totals(ledger.plain_bytes, ledger.kept_bytes - self._sightings.coded)
        for site, numels in self._sightings.numels().items():
            finding = self.findings[site]
            # Noise goes by the mean range, as it is relative to the gradient, which grows as well.
            spread = finding.spread * sum(numels) / max(sum(finding.numels), 1)
            self.findings[site] = replace(finding, numels=tuple(numels), spread=spread)

    def _follow(self) -> bool:
        """Scales the noise of each site with the ranges of its groups."""
        spreads, self._spreads = self._spreads, {}
        for site, seen in spreads.items():
            self.findings[site] = self.findings[site].followed(seen)
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
        self.widths.update(zip(sites, chosen.bits, strict=True))
        self.noise = sum(self.findings[site].noise[self.widths[site] - 1] for site in sites)

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, in plain numbers and lists."""
        self._settle(None, alone=not is_distributed())
        if self.settings.max_noise is not None:
            self.snapshot = None  # a sample of the gradient is not for keeping, and widths must not depend on it
        return {
            "sites": [
                {**to_plain(site, finding, self.widths[site]), **self._sightings.state(site)}
                for site, finding in self.findings.items()
            ],
            "noise": self.noise,
            "batch_variance": self.batch_variance,
            "passes": self.passes,
            "totals": [self._totals.plain, self._totals.fixed],
            "elements": [self._sightings.known, self._sightings.unknown],
            "is_used": self.is_used,
            "over_budget": self.over_budget,
            "failure": self.failure,
            "schedule": self._schedule.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes up what ``state`` returned.

        Args:
            state: The state.

        Raises:
            ValueError: If it is no such state. Nothing is changed then.
        """
        try:
            expect(state, set(Controller(self.settings, self._site_of).state()))
            sites = [from_plain(each, self._site_of) for each in state["sites"]]
            presences = {site: presence_from(each) for (site, *_), each in zip(sites, state["sites"], strict=True)}
            noise, variance = (number_or_none(state[name]) for name in ("noise", "batch_variance"))
            passes, is_used, over_budget = (count(state[name]) for name in ("passes", "is_used", "over_budget"))
            totals, elements = Totals(*map(count, state["totals"])), tuple(map(count, state["elements"]))
            schedule = Schedule.load(self.settings.probe_interval, state["schedule"])
            failure = str(state["failure"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the precision state is damaged ({error!r}). Pass what state_dict() returned.") from error
        self.findings = {site: finding for site, finding, _ in sites}
        self.widths = {site: width for site, _, width in sites}
        self.noise, self.batch_variance, self.passes = noise, variance, passes
        self.is_used, self.over_budget, self.failure = bool(is_used), bool(over_budget), failure
        self.snapshot, self._spreads = None, {}
        self._totals, self._schedule, self._ledger = totals, schedule, None
        self._sightings.load(presences, elements)

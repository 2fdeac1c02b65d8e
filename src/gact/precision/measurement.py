"""One step in which sensitivities are measured: finer codes, and who reads them."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..codecs import keys as streams
from ..codecs.groups import Groups
from ..operators.need import Need
from ..ops.checks import code_bytes
from ..records import Settings, Site
from ..saved.base import Held
from ..saved.encoded import Encoded
from ..saved.ledger import Ledger
from .comparison import Comparison
from .figures import brought
from .findings import Finding, Result, Sample, Totals
from .fine import Fine
from .graph import Leaf, Roots, leaves_of, nodes_of
from .grouping import Member
from .objective import weights
from .probe import Probe
from .refusal import check_graph
from .sensitivity import in_groups, one_at_a_time
from .suffering import Suffering
from .variance import variance_by_width

_FINEST = 8
_FINER = 2
"""Bits that a site gets beyond those it has in the step that measures it: a sixteenth of the noise that is added."""
_NOISE_STREAM = 0x5EED


@dataclass(frozen=True, slots=True)
class Measured:
    """A step in which sensitivities are measured, without what it holds.

    Attributes:
        number: Its number.
        ledger: What it saved.
        measurement: The measurement.
    """

    number: int
    ledger: Ledger
    measurement: Measurement

    @property
    def totals(self) -> Totals:
        """Bytes of the step, finer codes included."""
        return Totals(self.ledger.plain_bytes, self.ledger.kept_bytes)


class Measurement:
    """The samples of one step, taken while it is packed, and what backward passes tell of them.

    Args:
        settings: Group size and seed.
        step: Number of the step.
    """

    def __init__(self, settings: Settings, step: int) -> None:
        self._settings = settings
        self._step = step
        self._samples: dict[Site, Sample] = {}
        self._measured: set[Site] = set()
        self._owners: weakref.WeakKeyDictionary[Fine, Site] = weakref.WeakKeyDictionary()

    def hold(self, code: Groups, region: Tensor, site: Site, bits: int, needed: Need) -> Fine:
        """Holds a region in finer codes.

        Args:
            code: Codes of ``finer(bits)`` bits.
            region: What they hold.
            site: Who saves it.
            bits: Width the site has now.
            needed: Widths it may get.
        """
        fine = Fine(code, bits, needed.rows)
        sample = self._samples.get(site)
        if sample is None:
            sample = self._samples[site] = Sample(
                needed.min_bits, needed.max_bits, max(needed.prior_bits, needed.min_bits), bits
            )
        numel = region.numel()
        sample.shape = tuple(region.shape)
        sample.numels.append(numel)
        sample.variance = sample.variance + variance_by_width(code, region, site.key >> 1) * numel
        sample.spread = sample.spread + code.spread().double() * numel
        sample.fines.append(weakref.ref(fine))
        self._owners[fine] = site
        return fine

    def read_by(self, held: Held, node: int) -> None:
        """Notes that a node of this sequence number reads a region, or one that is rebuilt from it."""
        for fine in _roots(held):
            site = self._owners.get(fine)
            if site is not None:
                self._samples[site].readers.add(node)

    def run(self, roots: Roots, totals: Totals, put_back: Callable[[], None]) -> Result:
        """Measures every site whose tensors a backward pass reads, and has not been measured in this step.

        Args:
            roots: Where the pass begins, which has not run yet.
            totals: Bytes of the step; what is fixed still includes the finer codes.
            put_back: Called after each pass.

        Raises:
            RefusedError: If the graph does not bear further backward passes.
        """
        numbers = {node._sequence_nr() for node in nodes_of(roots)}
        pending = [
            site
            for site, sample in self._samples.items()
            if site not in self._measured and not sample.readers.isdisjoint(numbers) and sample.alive()
        ]
        leaves = leaves_of(roots) if pending else []
        if not leaves:
            return Result({}, math.nan, 0, totals)
        check_graph(roots)
        self._each(pending, "is_read", False)
        probe, sites, noise = self._noise(roots, pending, leaves, put_back)
        caused = noise.sum(1).tolist()
        samples = [self._samples[site] for site in sites]
        shown = brought([torch.as_tensor(figure) for each in samples for figure in (each.variance, each.spread)])
        findings = {
            site: _finding(sample, *each, *figures)
            for site, sample, each, *figures in zip(sites, samples, caused, shown[::2], shown[1::2], strict=True)
        }
        self._measured.update(sites)
        suffering = Suffering([leaf.tensor for leaf in leaves], probe.energy, sites, noise[:, :, 0])
        totals, snapshot = self._without_finer(totals), probe.snapshot()
        return Result(findings, float(probe.energy.sum()), probe.passes, totals, snapshot, suffering)

    def compare(self, loss: Tensor, totals: Totals, rounds: int, put_back: Callable[[], None]) -> list[Comparison]:
        """What the groups tell of each site beside what each site's rounding alone does.

        At the widths of now, but 6 bits at most: the gradient without rounding is that of the finer codes.

        Args:
            loss: The loss, before its own backward pass.
            totals: Bytes of the step.
            rounds: Roundings that are averaged, one backward pass for each.
            put_back: Called after each pass.

        Returns:
            One for each site, and one for all of them together.
        """
        roots = Roots.alone(loss)
        findings = self.run(roots, totals, put_back).findings
        probe = Probe(roots, [leaf.tensor for leaf in leaves_of(roots)], put_back)
        sites, energy = list(findings), max(float(probe.energy.sum()), 1e-300)

        def measured(rounded: Sequence[Site]) -> float:
            noise = 0.0
            for trial in range(1, rounds + 1):
                for site in rounded:
                    self._round(site, trial)
                noise += float(probe.compare().sum()) / energy / rounds
                self._each(rounded, "noise", None)
            return noise

        compared = [
            Comparison(site, bits, findings[site].noise[bits - 1], measured([site]))
            for site, bits in ((site, _probed(self._samples[site])) for site in sites)
        ]
        together = Comparison(None, 0, sum(each.predicted for each in compared), measured(sites))
        return [*compared, together]

    def _noise(
        self, roots: Roots, pending: Sequence[Site], leaves: Sequence[Leaf], put_back: Callable[[], None]
    ) -> _Seen:
        """Runs the passes of the estimator that was asked for over the sites that the pass reads."""
        grouped = self._settings.estimator == "grouped"
        try:
            if not grouped:
                for site in pending:
                    self._round(site)
            probe = Probe(roots, [leaf.tensor for leaf in leaves], put_back)
            sites = [site for site in pending if any(fine.is_read for fine in self._samples[site].alive())]
            weight = weights(self._settings.objective, probe.energy, probe.numel)
            if not grouped:
                noise = one_at_a_time(len(sites), lambda at: self._reseeded(probe, sites[at])[:, None] * weight)
            else:
                members = [_member(site, self._samples[site]) for site in sites]
                noise = in_groups(
                    members, leaves, lambda of: self._rounded(probe, [sites[at] for at in of])[:, None] * weight
                )
        finally:
            self._each(pending, "noise", None)
        return _Seen(probe, sites, noise)

    def _rounded(self, probe: Probe, sites: Sequence[Site]) -> Tensor:
        """What the gradient suffers where these sites are rounded and no others."""
        for site in sites:
            self._round(site)
        energy = probe.compare()
        self._each(sites, "noise", None)
        return energy

    def _reseeded(self, probe: Probe, site: Site) -> Tensor:
        """How much two gradients differ that differ in the rounding of one site."""
        self._round(site, trial=1)
        energy = probe.compare()
        self._round(site)
        return energy

    def _without_finer(self, totals: Totals) -> Totals:
        """The bytes of the step without its finer codes, but with those of sites whose width was not measured."""
        fixed = totals.fixed
        for site, sample in self._samples.items():
            bits = 0 if site in self._measured else sample.bits
            fixed -= sum(code_bytes(numel, finer(sample.bits)) - code_bytes(numel, bits) for numel in sample.numels)
        return replace(totals, fixed=max(fixed, 0))  # codes that were moved elsewhere are not held

    def _round(self, site: Site, trial: int = 0) -> None:
        """Has a site rounded to the width it has; other trials are other random numbers."""
        sample = self._samples[site]
        for occurrence, fine in enumerate(sample.alive()):
            seed = streams.key((self._settings.seed ^ _NOISE_STREAM) + trial, self._step, site.key, occurrence)
            fine.noise = (_probed(sample), seed)

    def _each(self, sites: Iterable[Site], name: str, value: object) -> None:
        for site in sites:
            for fine in self._samples[site].alive():
                setattr(fine, name, value)


class _Seen(NamedTuple):
    """What passes over one graph gave: the probe, the sites that the loss reads, and what each one causes.

    The noise is of shape [sites, leaves, 2], as ``objective.weights`` measures it.
    """

    probe: Probe
    sites: list[Site]
    noise: Tensor


def finer(bits: int) -> int:
    """Width of the codes of a site that has so many bits, in a step in which its sensitivity is measured."""
    return min(bits + _FINER, _FINEST)


def _probed(sample: Sample) -> int:
    """Width of the noise that is added: the one the site has, at most one that is well above the finest's own."""
    return min(sample.bits, _FINEST - _FINER)


def _finding(sample: Sample, caused: float, weighed: float, variance: Tensor, spread: Tensor) -> Finding:
    """What a site's rounding causes at each width, from the noise and the objective at the one that was probed."""
    probed = float(variance[_probed(sample) - 1])
    noise = variance * (caused / probed) if probed > 0 else torch.zeros(len(variance))
    return Finding(
        tuple(sample.numels),
        sample.least,
        sample.most,
        sample.prior,
        float(spread),
        tuple(map(float, noise)),
        weighed / caused if caused > 0 else 1.0,
    )


def _member(site: Site, sample: Sample) -> Member:
    return Member((site.op, site.call, site.slot), sample.shape, sample.numel, frozenset(sample.readers))


def _roots(held: Held) -> set[Fine]:
    """The regions in finer codes that a held region comes from."""
    found: set[Fine] = set()
    waiting: list[object] = [held]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Fine):
            found.add(each)
        elif not isinstance(each, Encoded):
            waiting.extend(source.held for source in getattr(each, "sources", ()))
    return found

"""One step in which sensitivities are measured: finer codes, and who reads them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from .. import streams
from ..codecs.groups import Groups
from ..needs import Need
from ..ops.checks import code_bytes
from ..packed import Encoded, Fine, Held
from ..records import Settings, Site
from .graph import leaves_of
from .grouping import Member
from .probe import Probe, Snapshot
from .sensitivity import in_groups, one_at_a_time
from .variance import variance_by_width

FINEST = 8
"""Width of the codes in a step in which sensitivities are measured."""
_NOISE_STREAM = 0x5EED


@dataclass(frozen=True, slots=True)
class Totals:
    """Bytes of a step.

    Attributes:
        plain: What plain autograd keeps.
        fixed: What is held besides the codes whose width can be chosen.
    """

    plain: int
    fixed: int


@dataclass(slots=True)
class Sample:
    """What a step has shown of one site.

    Attributes:
        least: Least width that its consumer and the rules allow.
        most: Greatest width.
        prior: Least width where nothing is measured.
        bits: Width it has.
        fines: Its tensors.
        readers: Sequence numbers of the nodes that read them.
        numels: Elements of each.
        variance: Sum over its elements of the squared error of each width, shape [8].
        spread: Sum over its elements of the mean squared range of the groups.
        shape: Shape of the last of them.
    """

    least: int
    most: int
    prior: int
    bits: int
    shape: tuple[int, ...] = ()
    fines: list[weakref.ref[Fine]] = field(default_factory=list)
    readers: set[int] = field(default_factory=set)
    numels: list[int] = field(default_factory=list)
    variance: Tensor | float = 0.0
    spread: Tensor | float = 0.0

    @property
    def numel(self) -> int:
        """Elements of all its tensors."""
        return sum(self.numels)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured of one site.

    Attributes:
        numels: Elements of each tensor that it saved in the step.
        least: Least width allowed.
        most: Greatest width.
        prior: Least width that counts for the budget.
        spread: Sum over elements of the mean squared range of their groups, when it was measured.
        noise: Gradient noise |g - g0|^2 / |g0|^2 that each width of 1 to 8 bits causes.
    """

    numels: tuple[int, ...]
    least: int
    most: int
    prior: int
    spread: float
    noise: tuple[float, ...]


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
        self._owners: weakref.WeakKeyDictionary[Fine, Site] = weakref.WeakKeyDictionary()

    def hold(self, code: Groups, region: Tensor, site: Site, bits: int, needed: Need) -> Fine:
        """Holds a region in finer codes.

        Args:
            code: Codes of ``FINEST`` bits.
            region: What they hold.
            site: Who saves it.
            bits: Width the site has now.
            needed: Widths it may get.
        """
        fine = Fine(code, bits)
        sample = self._samples.get(site)
        if sample is None:
            sample = self._samples[site] = Sample(
                needed.least_bits, needed.most_bits, max(needed.prior_bits, needed.least_bits), bits
            )
        numel = region.numel()
        sample.shape = tuple(region.shape)
        sample.numels.append(numel)
        sample.variance = sample.variance + variance_by_width(region, code.group_size, site.key >> 1) * numel
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

    def run(self, loss: Tensor, gradient: Tensor | None, totals: Totals) -> Result:
        """Measures every site whose tensors the backward of a loss reads, and has not been measured in this step.

        Args:
            loss: The loss, before its own backward pass.
            gradient: Gradient with respect to it.
            totals: Bytes of the step; what is fixed still includes the finer codes.
        """
        leaves = leaves_of(loss)
        grouped = self._settings.estimator == "grouped"
        self._each(self._samples, "is_read", False)
        try:
            if not grouped:
                self._round(self._samples, 0)
            probe = Probe(loss, gradient, [leaf.tensor for leaf in leaves])
            sites = [site for site, sample in self._samples.items() if any(fine.is_read for fine in _alive(sample))]
            if grouped:
                energy = in_groups(
                    [_member(site, self._samples[site]) for site in sites], leaves, partial(self._add, probe, sites)
                )
            else:
                energy = one_at_a_time(len(sites), partial(self._reseed, probe, sites))
        finally:
            self._each(self._samples, "noise", None)
        total = float(probe.energy.sum())
        findings = {site: self._finding(site, float(each), total) for site, each in zip(sites, energy, strict=True)}
        finer = sum(code_bytes(numel, FINEST) for each in findings.values() for numel in each.numels)
        for site in sites:
            del self._samples[site]
        totals = replace(totals, fixed=max(totals.fixed - finer, 0))
        return Result(findings, total, probe.passes, totals, probe.snapshot())

    def _add(self, probe: Probe, sites: Sequence[Site], indices: Sequence[int]) -> Tensor:
        """What the gradient suffers where these sites are rounded and no others."""
        rounded = [sites[index] for index in indices]
        self._round(rounded, 0)
        energy = probe.compare()
        self._each(rounded, "noise", None)
        return energy

    def _reseed(self, probe: Probe, sites: Sequence[Site], index: int) -> Tensor:
        """How much two gradients differ that differ in the rounding of one site."""
        self._round([sites[index]], 1)
        energy = probe.compare()
        self._round([sites[index]], 0)
        return energy

    def _round(self, sites: Iterable[Site], stream: int) -> None:
        """Has sites rounded to their widths, with random numbers of the first or the second stream."""
        for site in sites:
            sample = self._samples[site]
            for occurrence, fine in enumerate(_alive(sample)):
                seed = streams.key(self._settings.seed ^ _NOISE_STREAM, self._step, site.key, 2 * occurrence + stream)
                fine.noise = (_probed(sample), seed)

    def _each(self, sites: Iterable[Site], name: str, value: object) -> None:
        for site in sites:
            for fine in _alive(self._samples[site]):
                setattr(fine, name, value)

    def _finding(self, site: Site, energy: float, total: float) -> Finding:
        sample = self._samples[site]
        variance = torch.as_tensor(sample.variance, dtype=torch.float64).cpu()
        probed = float(variance[_probed(sample) - 1])
        noise = variance * (energy / total / probed) if probed > 0 and total > 0 else torch.zeros(len(variance))
        return Finding(
            tuple(sample.numels),
            sample.least,
            sample.most,
            sample.prior,
            float(sample.spread),
            tuple(map(float, noise)),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What the backward passes of one loss told.

    Attributes:
        findings: By site.
        energy: Squared norm of the gradient.
        passes: Backward passes run.
        totals: Bytes of the step.
        snapshot: A sample of the gradient; not sent to other ranks.
    """

    findings: dict[Site, Finding]
    energy: float
    passes: int
    totals: Totals
    snapshot: Snapshot | None = None


def _alive(sample: Sample) -> list[Fine]:
    fines = [reference() for reference in sample.fines]
    return [fine for fine in fines if fine is not None]


def _probed(sample: Sample) -> int:
    """Width of the noise that is added: the one the site has, at most one that is well above the finest's own."""
    return min(sample.bits, FINEST - 2)


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

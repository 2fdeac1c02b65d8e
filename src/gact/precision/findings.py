"""Records of a measurement: what a step shows of a site, and what backward passes tell of it."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..records import Site
from .fine import Fine
from .probe import Snapshot
from .sightings import Names
from .suffering import Suffering

ROUNDING = 1.02
"""How many times a budget may be taken, since bits are whole."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Bytes of a step.

    Attributes:
        plain: What plain autograd keeps.
        fixed: What is held besides the codes whose width can be chosen.
    """

    plain: int
    fixed: int


@dataclass(frozen=True, slots=True)
class Reach:
    """What was asked for in bytes, and what the widths come to.

    Attributes:
        totals: Bytes of the step that the widths were chosen for.
        budget: What the codes may take.
        nbytes: What they take.
        by_noise: Whether ``max_noise`` has chosen them.
    """

    totals: Totals
    budget: int
    nbytes: int
    by_noise: bool

    @property
    def held(self) -> int:
        """Bytes held in an ordinary step."""
        return self.totals.fixed + self.nbytes

    @property
    def asked(self) -> int:
        """Bytes that were asked for."""
        return self.totals.fixed + self.budget

    @property
    def is_missed(self) -> bool:
        """Whether more is held than was asked for, but for what bits are whole."""
        return self.held > ROUNDING * self.asked

    @property
    def ratio(self) -> float:
        """Compression ratio that is reached."""
        return self.totals.plain / max(self.held, 1)


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

    def alive(self) -> list[Fine]:
        """Those of its tensors that are still held."""
        fines = [reference() for reference in self.fines]
        return [fine for fine in fines if fine is not None]


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
        weight: What the objective counts for each unit of that noise.
    """

    numels: tuple[int, ...]
    least: int
    most: int
    prior: int
    spread: float
    noise: tuple[float, ...]
    weight: float = 1.0

    def followed(self, seen: Sequence[tuple[Tensor | float, int]]) -> Finding:
        """These findings, with the noise scaled by the ranges seen since.

        Args:
            seen: Mean squared range of the groups, and elements, of each tensor.
        """
        spread = sum(float(each) * numel for each, numel in seen)
        if not (self.spread > 0 and 0 < spread < math.inf):
            return self
        noise = tuple(each * spread / self.spread for each in self.noise)
        return replace(self, numels=tuple(numel for _, numel in seen), spread=spread, noise=noise)

    def blended(self, before: Finding | None) -> Finding:
        """The geometric mean with what was known before, since a measurement is one sample of a random quantity."""
        if before is None or min(before.noise) <= 0 or min(self.noise) <= 0:
            return self
        noise = tuple(math.sqrt(old * new) for old, new in zip(before.noise, self.noise, strict=True))
        return replace(self, noise=noise, weight=math.sqrt(before.weight * self.weight))


@dataclass(frozen=True, slots=True)
class Result:
    """What the backward passes of one loss told.

    Attributes:
        findings: By site.
        energy: Squared norm of the gradient.
        passes: Backward passes run.
        totals: Bytes of the step.
        snapshot: A sample of the gradient; not sent to other ranks.
        suffering: Which parameters suffer; not sent either.
        times: When this rank has seen the sites: the last step and the longest gap.
    """

    findings: dict[Site, Finding]
    energy: float
    passes: int
    totals: Totals
    snapshot: Snapshot | None = None
    suffering: Suffering | None = None
    times: dict[Names, tuple[int, int]] = field(default_factory=dict)

"""The ranks of a distributed run agree on when to measure, and on what was found; none ever waits for another.

NOTE: Why by the store and not by a collective
A collective waits until all ranks call it, and a rank that differs (it alone was asked, has loaded a state, has given
up, is out of data) would leave the others waiting for ever. The store through which the ranks of a group have found
each other holds keys instead, that are written and looked at and never waited for. What does not come to be is an
agreement that stays open, and training goes on with the widths it has.

NOTE: A round
1. A rank to which a measurement is due writes so. The others see that at the beginning of a step and answer.
2. Whoever answers last writes in which step all begin: in the next one, since by then all can have read it. A rank
   that has given up writes instead that there will be none.
3. Each measures in that step and writes what it found. Whoever is last writes the average.
4. Each takes up the average as soon as it reads it. Where gradients are averaged within backward, that is at the end of
   the same backward pass: it has ended nowhere before all had written.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..records import Site
from .findings import Finding, Result, Totals
from .sightings import Names

_NONE, _NO = "none", "no "
"""How a round ends without a measurement: nobody needs one, or somebody refuses, with the reason behind it."""

MEASURE, COMPARE = "measure", "compare"
"""What a rank may want: a measurement, or to know whether the others know the same, and a measurement only if not."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one rank tells the others of a measurement.

    Attributes:
        result: What it found; None if it failed.
        number: Its step.
        knows: Digest of what it knew before.
    """

    result: Result | None
    number: int
    knows: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all ranks take up.

    Attributes:
        result: The average of what they found; None if one failed.
        number: The step that all count on from.
        parted: Whether they knew different things before, which is then forgotten.
    """

    result: Result | None
    number: int
    parted: bool


class Agreement:
    """One compressor and its counterparts on the other ranks.

    Args:
        store: Where the ranks write; keys must be theirs alone.
        rank: Number of this rank in the group.
        world: How many there are.

    Attributes:
        is_open: Whether this rank has answered, and the round has not ended yet.
    """

    def __init__(self, store: Any, rank: int, world: int) -> None:
        self._store, self._rank, self._world = store, rank, world
        self._round, self._verdicts, self._last = -1, 0, ""
        self._offered: int | None = None
        self._is_met = False
        self._next()

    def _next(self) -> None:
        self._round += 1
        self.is_open = self._told = False
        self._first: int | None = None
        self._since = 0

    def begin_step(
        self, number: int, wants: Callable[[], str], knows: Callable[[], str], refusal: Callable[[bool], str]
    ) -> bool:
        """Whether to measure in a step that begins.

        Args:
            number: Number of the step.
            wants: What this rank wants: ``MEASURE``, ``COMPARE`` or nothing.
            knows: Digest of what it knows.
            refusal: Why it measures no more, given whether a user has asked for this; empty if it does.
        """
        if not self.is_open:
            self._answer(number, wants, knows, refusal)
        if not self.is_open or self._told:
            return False
        if self._first is None:
            self._read_start(number)
        if self._first is None or number < self._first:
            return False
        late = number - self._first  # where its steps come to no measurement it tries in ever greater distances
        return late & (late - 1) == 0

    @property
    def is_awaited(self) -> bool:
        """Whether it is for this rank to measure, which it has not done yet."""
        return self._first is not None and not self._told

    def ask(self) -> None:
        """Tells the others that a user wants a measurement, whatever they have given up."""
        self._add("asks")

    def resume(self, number: int, knows: str) -> None:
        """Measures in the step that begins, as was agreed before the run was interrupted."""
        self._enter(number, MEASURE, knows)
        self._first = number

    def agreed_for(self, number: int) -> int:
        """The step after this one, if it is agreed to measure in it; else 0."""
        if self.is_open and not self._told and self._first is None:
            self._read_start(number)
        return 0 if self._told else self._first or 0

    def waits(self, number: int) -> int:
        """For how many steps this rank has been waiting for an answer."""
        return number - self._since if self.is_open else 0

    def refused(self) -> str:
        """Why another rank does not measure, once; empty if none has refused."""
        text = self._read("start") if self.is_open and self._first is None else None
        if text is None or not text.startswith(_NO.encode()):
            return ""
        self._next()
        return text.decode().removeprefix(_NO)

    def _answer(
        self, number: int, wants: Callable[[], str], knows: Callable[[], str], refusal: Callable[[bool], str]
    ) -> None:
        others = self._count("answers") > 0
        reason = refusal(others and self._count("asks") > 0)
        if reason and others:
            self._store.set(self._key("start"), _NO + reason)
            self._next()
        if reason:
            return
        wish = wants()
        if wish or others:
            self._enter(number, wish, knows())

    def _enter(self, number: int, wish: str, knows: str) -> None:
        if wish == MEASURE:
            self._add("wishes")
        alike = self._add(f"knows/{knows}")
        self.is_open, self._since = True, number
        if self._add("answers") < self._world:
            return
        needed = self._count("wishes") or alike < self._world
        self._store.set(self._key("start"), str(number + 1) if needed else _NONE)

    def _read_start(self, number: int) -> None:
        text = (self._read("start") or b"").decode()
        if text == _NONE:
            self._next()
        elif text and not text.startswith(_NO):
            # Ranks count the same steps, unless one has begun later: then at once, or in the next.
            self._first = min(max(int(text), number), number + 1)

    def tell(self, told: Told) -> None:
        """Tells the others what was found; the last one averages."""
        if not self.is_open or self._told:
            return
        self._told = True
        self._store.set(self._key(f"told/{self._rank}"), pickle.dumps(told))
        if self._add("tells") < self._world:
            return
        keys = [self._key(f"told/{rank}") for rank in range(self._world)]
        self._store.set(self._key("verdict"), pickle.dumps(_verdict([pickle.loads(self._store.get(k)) for k in keys])))
        with contextlib.suppress(RuntimeError, NotImplementedError):  # not every store can
            for key in [*keys, self._last]:
                self._store.delete_key(key)

    def verdict(self) -> Verdict | None:
        """What all have found, once, as soon as it is known."""
        text = self._read("verdict") if self._told else None
        if text is None:
            return None
        self._last, self._offered, self._is_met = self._key("verdict"), None, False
        self._verdicts += 1
        self._next()
        verdict: Verdict = pickle.loads(text)
        return verdict

    def offer(self, value: float, count: int) -> None:
        """Tells the others a number that each rank has once after each verdict.

        Args:
            value: The number.
            count: Steps that have ended.
        """
        if self._offered is not None:
            return
        self._offered = count
        about = f"after/{self._verdicts}"
        self._store.set(f"{about}/{self._rank}", repr(value))
        if int(self._store.add(f"{about}/offers", 1)) == self._world:
            values = [float(self._store.get(f"{about}/{rank}")) for rank in range(self._world)]
            self._store.set(f"{about}/mean", repr(sum(values) / self._world))

    def mean(self, count: int) -> float | None:
        """The mean of that number over all ranks, once, NaN if one has none; None while it is not known.

        Args:
            count: Steps that have ended. It is not looked for before all ranks can have written.
        """
        key = f"after/{self._verdicts}/mean"
        if self._is_met or self._offered is None or count < self._offered + 2 or not self._store.check([key]):
            return None
        self._is_met = True
        return float(self._store.get(key))

    def _key(self, name: str) -> str:
        return f"{self._round}/{name}"

    def _add(self, name: str) -> int:
        return int(self._store.add(self._key(name), 1))

    def _count(self, name: str) -> int:
        return int(self._store.add(self._key(name), 0))

    def _read(self, name: str) -> bytes | None:
        key = self._key(name)
        return bytes(self._store.get(key)) if self._store.check([key]) else None


def digest(findings: Mapping[Site, Finding], widths: Mapping[Site, int]) -> str:
    """A short text that differs where what is known of the sites does."""
    known = sorted((names_of(site), widths.get(site, 0), finding.noise) for site, finding in findings.items())
    return hashlib.blake2b(repr(known).encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _verdict(told: list[Told]) -> Verdict:
    parted = len({each.knows for each in told}) > 1
    return Verdict(averaged([each.result for each in told]), max(each.number for each in told), parted)


def averaged(results: list[Result | None]) -> Result | None:
    """The findings of all sites that any rank has measured, with their mean noise; None if a rank failed.

    Args:
        results: What each rank found, in the order of the ranks.
    """
    found = [each for each in results if each is not None]
    if len(found) < len(results):
        return None
    finite = all(math.isfinite(each.energy) for each in found)
    energy = sum(each.energy for each in found) / len(found) if finite else math.nan
    sites: dict[Names, tuple[Site, list[Finding]]] = {}
    times: dict[Names, tuple[int, int]] = {}
    for each in found:
        for site, finding in each.findings.items():
            sites.setdefault(names_of(site), (site, []))[1].append(finding)
        for names, time in each.times.items():
            times[names] = tuple(map(max, time, times.get(names, time)))  # type: ignore[assignment]
    findings = {site: _mean(seen) for _, (site, seen) in sorted(sites.items(), key=lambda item: item[0])}
    totals = Totals(max(each.totals.plain for each in found), max(each.totals.fixed for each in found))
    passes = max(each.passes for each in found)
    return Result(findings, energy, passes, totals, times=times)


def names_of(site: Site) -> Names:
    """What a site is on every rank."""
    return site.module, site.op, site.call, site.slot


def _mean(findings: list[Finding]) -> Finding:
    noise = tuple(sum(values) / len(findings) for values in zip(*(each.noise for each in findings), strict=True))
    spread = sum(each.spread for each in findings) / len(findings)
    weight = sum(each.weight for each in findings) / len(findings)
    return replace(findings[0], noise=noise, spread=spread, weight=weight)

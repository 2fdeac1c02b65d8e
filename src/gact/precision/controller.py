"""The precision controller: when sensitivities are measured, and what they tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, cast

from torch import Tensor, nn

from ..autograd.replicas import Replicas
from ..codecs.groups import Groups
from ..records import Settings, Site
from ..saved.ledger import Ledger
from .findings import Result
from .graph import Roots
from .joint import Joint
from .measurement import Measured, Measurement
from .probe import Snapshot
from .refusal import RefusedError, refused_by_model
from .resumed import Resumed
from .schedule import Schedule
from .state import to_plain

_TRACKINGS = 20
"""How often in an interval the ranges of the tensors are looked at."""
_UNKNOWN_SHARE = 0.05
"""Share of elements at sites never measured that calls for a measurement before its time."""
_LARGER = 1.02
"""A step that keeps this many times the bytes of the measured one is what the budget is for: that was a part of it."""
_BEFORE = "before the run was resumed: "
_LOOKS = 16
"""Every how many steps it is looked for sites that are gone."""


class Controller(Joint):
    """Decides when sensitivities are measured, and has the widths chosen that follow.

    Between measurements a site's noise is taken to follow the ranges of its groups.

    Args:
        settings: The budget and the interval.
        site_of: Gives the site of four names.
        replicas: The other processes of the training.
        model: The network, whose parameters have names.

    Attributes:
        passes: Backward passes that measurements have run.
    """

    def __init__(
        self,
        settings: Settings,
        site_of: Callable[[str, str, int, int], Site],
        replicas: Replicas | None = None,
        model: nn.Module | None = None,
    ) -> None:
        super().__init__(settings, site_of, Replicas(None) if replicas is None else replicas, model)
        self.passes = 0
        self._number, self._ledger = 0, cast("Ledger | None", None)
        self._measured: Measured | None = None
        self._tracking = False

    def use(self, model: nn.Module | None) -> None:
        """Notes that backward passes read what is saved; gives up measuring where the model does not bear it."""
        if not self.is_used and self.settings.adaptive and not self.failure:
            self.failure = refused_by_model(model)
        self.is_used = True

    def _forget(self) -> None:
        """Forgets what this rank found by itself, before it was known that there are others."""
        self._start_anew()
        self.snapshot, self.is_used = None, False
        self._schedule = Schedule(self.settings.probe_interval, requested=self._schedule.requested)

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
        """Begins a step; returns the measurement to be made in it, if one is due.

        Args:
            number: Number of the step on this rank.
            ledger: Where its bytes will be counted.
        """
        if self.replicas.group is not None:
            number = self.replicas.count + 1
            if number == 1:
                self._forget()
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
        # Ranks may differ in what they saw, and must not differ in when they measure and in their widths.
        alone = self.replicas.group is None
        wanted = self._schedule.requested or (self.settings.adaptive and self.is_used)
        if (alone and (not wanted or self.failure)) or not (alone or self.replicas.may_reduce):
            return None
        self._settle(number, alone)
        known, unknown = self._sightings.known, self._sightings.unknown
        if alone:
            due = self._schedule.is_due(number, unknown > _UNKNOWN_SHARE * (known + unknown))
        else:
            due = self._is_agreed(number)
        self._tracking = alone and bool(self.findings) and not due and self._schedule.is_part(number, _TRACKINGS)
        self._sightings.begin_step()
        self._number, self._ledger = number, None if due or not alone else ledger
        return Measurement(self.settings, number) if due else None

    def saw(self, site: Site, numel: int, code: Groups) -> None:
        """Notes the code that a site was given in an ordinary step."""
        if self._sightings.saw(site, numel, code, self._number) and self._tracking:
            spread = code.spread()
            self._spreads.setdefault(site, []).append((float(spread) if spread.is_cpu else spread, numel))

    @property
    def is_asked(self) -> bool:
        """Whether a measurement was asked for that has not succeeded yet."""
        return self._schedule.requested

    @property
    def is_joint(self) -> bool:
        """Whether all ranks run the backward pass of this step, so that they may exchange what they found."""
        return self.replicas.group is None or self.replicas.reduces

    def measure(
        self, measured: Measured, roots: Roots, aside: AbstractContextManager[Callable[[], None]]
    ) -> Snapshot | None:
        """Runs a measurement and chooses widths anew; returns the sample of the gradient that was taken.

        Args:
            measured: That of the step.
            roots: Where its backward pass will begin.
            aside: What our passes run in; gives what is called after each.
        """
        if not self._is_awaited():
            return None
        result: Result | None = None
        try:
            with aside as put_back:
                result = measured.measurement.run(roots, measured.totals, put_back)
        except RefusedError as error:
            self.failure = str(error)
        except Exception as error:  # whatever a second backward pass runs into: the first one may still succeed
            self.failure = f"{type(error).__name__}: {error}"
        if self.replicas.group is not None:
            self._tell(result, measured.number)
        elif result is not None:
            self.learn(result, measured.number)
        return None if result is None else result.snapshot

    def learn(self, result: Result, number: int) -> None:
        """Learns from what was measured in a step."""
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
        self.snapshot, self.suffering = result.snapshot, result.suffering
        self.findings.update(finite)
        for site in finite:
            self._sightings.note(site, number)
        if self.replicas.group is not None:
            self._sightings.merge(result.times, self._site_of)
            self._sightings.vanished(number)
        self._sightings.returned(number)
        self._choose()

    def learn_variance(self, snapshot: Snapshot) -> None:
        """Learns the variance of the gradient from batch to batch, if the two gradients were of the same leaves."""
        variance = snapshot.variance()
        snapshot.tries -= 1
        if math.isfinite(variance) or not snapshot.tries:
            self.snapshot = None
            if self.replicas.group is not None:
                self._offer(variance)
                return
        if math.isfinite(variance):
            self._learn_variance(variance)

    def _settle(self, number: int | None, alone: bool) -> None:
        """Learns from what the last step has shown, and chooses anew if that pays.

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

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, in plain numbers and lists."""
        self._settle(None, alone=self.replicas.group is None)
        self._schedule.agreed = self._agreed_for()
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
            "turns": self.replicas.count,
            "over_budget": self.over_budget,
            "failure": self.failure,
            "schedule": self._schedule.state(),
            "snapshot": self._pending(),
        }

    def _named(self) -> dict[str, Tensor]:
        return {} if self._model is None else dict(self._model.named_parameters())

    def _pending(self) -> dict[str, Any] | None:
        """A reading of the meter that has begun and on which widths will depend; dropped if it cannot be saved."""
        if self.snapshot is None or self.settings.max_noise is None:
            return None
        if self.replicas.group is not None:
            return None  # each rank has its own
        names = {id(each): name for name, each in self._named().items()}
        pending = self.snapshot.state(names)
        if pending is None:
            self.snapshot = None
        return pending

    def load(self, state: Mapping[str, Any]) -> None:
        """Sets the state that ``state`` returned; what is asked for stays as it is.

        Args:
            state: The state.

        Raises:
            ValueError: If it is no such state. Nothing is changed then.
        """
        names = set(Controller(self.settings, self._site_of).state())
        resumed = Resumed.checked(state, names, self.settings.probe_interval, self._site_of, self._named())
        self.findings, self.widths = resumed.findings, resumed.widths
        self.noise, self.batch_variance, self.passes = resumed.noise, resumed.batch_variance, resumed.passes
        self.is_used, self.over_budget, self.failure = resumed.is_used, resumed.over_budget, _of_before(resumed.failure)
        self._count_from(resumed.turns)
        self.snapshot, self._spreads = resumed.snapshot, {}
        self._totals, self._schedule, self._ledger = resumed.totals, resumed.schedule, None
        self._sightings.load(resumed.presences, resumed.elements)
        self._is_loaded = True
        if self.settings.adaptive:
            self._choose()  # the same widths, unless something else is asked for than was when the state was saved


def _of_before(failure: str) -> str:
    """Why a run gave up measuring, as the run that resumes it tells it."""
    return _BEFORE + failure if failure and not failure.startswith(_BEFORE) else failure

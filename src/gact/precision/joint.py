"""What a controller does in common with those of other ranks."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch.distributed as dist
from torch import nn

from ..autograd.replicas import Replicas, store_for
from ..records import Settings, Site
from .agreement import COMPARE, MEASURE, Agreement, Told, Verdict, digest, names_of
from .findings import Result
from .known import Known
from .probe import Snapshot
from .refusal import refused_by_model
from .schedule import Schedule

_PATIENCE = 100
"""For how many steps ranks may leave one without an answer until it is told."""
_T = TypeVar("_T")
_opened: Counter[str] = Counter()
"""How many agreements this process has entered of each name."""


class Joint(Known):
    """Knows what all ranks know.

    Args:
        settings: The budget and the interval.
        site_of: Gives the site of four names.
        replicas: The other processes of the training.
        model: The network.

    Attributes:
        is_used: Whether a backward pass has read what a step saved; nothing is measured for those that never do.
        failure: Why measuring was given up; empty while it was not.
        snapshot: A gradient that waits for the next one to be compared with.
        parted: Whether ranks were found to know different things.
        is_unanswered: Whether other ranks have not answered for long.
    """

    def __init__(
        self,
        settings: Settings,
        site_of: Callable[[str, str, int, int], Site],
        replicas: Replicas,
        model: nn.Module | None,
    ) -> None:
        super().__init__(settings)
        self.replicas = replicas
        self.is_used = False
        self.failure = ""
        self.snapshot: Snapshot | None = None
        self.parted = self.is_unanswered = False
        self._model = model
        self._site_of = site_of
        self._schedule = Schedule(settings.probe_interval)
        self._agreement: Agreement | None = None
        self._told: tuple[Result | None, int] = (None, 0)
        self._is_loaded, self._cut = False, ""
        self._ahead = 0

    def learn(self, result: Result, number: int) -> None:
        """Learns from what was measured in a step."""
        raise NotImplementedError

    def _count_from(self, count: int) -> None:
        """Goes on counting from a number; ranks agree on steps by those of this process, which are alike on all."""
        self._ahead += count - self.replicas.count
        self.replicas.count = count

    def _is_agreed(self, number: int) -> bool:
        """Whether all ranks have agreed to measure in a step, as far as this one knows."""
        if number < 2 and not self._is_loaded:
            return False  # whether all ranks come to a second step, the end of this one will show
        return self._reach(lambda agreement: self._begin(agreement, number), otherwise=False)

    def _begin(self, agreement: Agreement, number: int) -> bool:
        if self._schedule.agreed and not agreement.is_open:
            agreement.resume(number - self._ahead, self._digest())
        self._schedule.agreed = 0
        step = number - self._ahead
        agreed = agreement.begin_step(step, lambda: self._wants(agreement, number), self._digest, self._refusal)
        self.is_unanswered = agreement.waits(step) > _PATIENCE
        return agreed

    def _is_awaited(self) -> bool:
        """Whether what would be measured now is of use: other ranks take one result of each."""
        return self.replicas.group is None or (self._agreement is not None and self._agreement.is_awaited)

    def take_up(self) -> None:
        """Learns what other ranks have written meanwhile."""
        if self._agreement is None:
            return
        nothing: tuple[str, float | None, Verdict | None] = ("", None, None)
        refused, mean, verdict = self._reach(self._news, otherwise=nothing)
        if refused:
            self.failure = self.failure or f"measuring failed on another rank: {refused}"
        if mean is not None and math.isfinite(mean):
            self._learn_variance(mean)
        if verdict is not None:
            self._accept(verdict)

    def _news(self, agreement: Agreement) -> tuple[str, float | None, Verdict | None]:
        return agreement.refused(), agreement.mean(self.replicas.count - self._ahead), agreement.verdict()

    def _accept(self, verdict: Verdict) -> None:
        (own, number), self._told = self._told, (None, 0)
        if verdict.parted:
            self.parted = True
            self._count_from(self.replicas.count + verdict.number - number)  # a state may have come with another
            self._start_anew()
            self._schedule = Schedule(self.settings.probe_interval, requested=self._schedule.requested)
        if verdict.result is None or own is None:
            self.failure = self.failure or "measuring failed on another rank"
            return
        findings = {self._site_of(*names_of(site)): each for site, each in verdict.result.findings.items()}
        shared = replace(verdict.result, findings=findings, passes=own.passes)
        self.learn(replace(shared, snapshot=own.snapshot, suffering=own.suffering), verdict.number)

    def _agreed_for(self) -> int:
        """The step for which a measurement is agreed that has not been made; 0 for none."""
        if self._agreement is None:
            return 0
        step = self._reach(lambda agreement: agreement.agreed_for(self.replicas.count - self._ahead), otherwise=0)
        return step and step + self._ahead

    def _tell(self, result: Result | None, number: int) -> None:
        """Tells the other ranks what was found; what comes of it is learnt by ``take_up``."""
        self._told = (result, number)
        sent = result and replace(result, snapshot=None, suffering=None, times=self._sightings.times())
        told = Told(sent, number, self._digest())
        self._reach(lambda agreement: agreement.tell(told), otherwise=None)

    def _offer(self, variance: float) -> None:
        """Tells the other ranks the variance that this one has seen."""
        self._reach(lambda agreement: agreement.offer(variance, self.replicas.count - self._ahead), otherwise=None)

    def _learn_variance(self, variance: float) -> None:
        self.batch_variance = variance
        if self.settings.max_noise is not None:
            self._choose()

    def _wants(self, agreement: Agreement, number: int) -> str:
        if self._schedule.requested:
            agreement.ask()
        loaded, self._is_loaded = self._is_loaded, False
        due = self._schedule.requested or self.is_used
        if due and self._schedule.is_due(number, incomplete=False):
            return MEASURE
        return COMPARE if loaded else ""

    def _refusal(self, asked: bool) -> str:
        """Why this rank does not measure; what a user asks for on another rank is as if it were asked for on this."""
        if asked and self.failure:
            self.failure = refused_by_model(self._model)
        return self.failure

    def _digest(self) -> str:
        return digest(self.findings, self.widths)

    def _entered(self) -> Agreement:
        """The agreement of this compressor. On all ranks it is the first, second, ... of networks of these shapes."""
        if self._agreement is None:
            group = self.replicas.group
            shapes = [] if self._model is None else [tuple(each.shape) for each in self._model.parameters()]
            name = f"{group.group_name}/{hashlib.blake2b(repr(shapes).encode(), digest_size=8).hexdigest()}"
            store = store_for(group, f"{name}/{_opened[name]}")
            _opened[name] += 1
            self._agreement = Agreement(store, dist.get_rank(group), dist.get_world_size(group))
        return self._agreement

    def _reach(self, act: Callable[[Agreement], _T], otherwise: _T) -> _T:
        """Gives up measuring where the ranks cannot reach each other: training needs nothing of it."""
        if not self._cut:
            try:
                return act(self._entered())
            except Exception as error:  # whatever a store raises that is gone
                self._cut = f"ranks cannot agree, since the store of their process group fails: {error}"
        self.failure = self._cut
        return otherwise

"""Steps: which saves belong together, and the figures of the last one."""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

from torch import Tensor

from ..autograd.inner import InnerPasses, in_backward
from ..codecs.groups import Groups
from ..forks import new_lock
from ..operators.need import Need
from ..records import Site
from .base import Held
from .choices import Choices
from .encoded import Encoded
from .ledger import Ledger
from .sharing import Sharing
from .small import Small


class Measurement(Protocol):
    """What is measured in a step."""

    def hold(self, code: Groups, region: Tensor, site: Site, bits: int, needed: Need) -> Encoded:
        """Holds a region in finer codes than those that its site has."""
        ...

    def read_by(self, held: Held, node: int) -> None:
        """Notes that the node of a sequence number reads a region."""
        ...


class Measurer(Protocol):
    """Who decides whether a step is measured."""

    def begin_step(self, step: Step, before: Ledger) -> None:
        """Takes up a new step, and gives it a measurement if one is due in it.

        Args:
            step: The step.
            before: What the step before has saved.
        """
        ...


class Step:
    """Alive as long as anything packed in one step is.

    Attributes:
        number: Which step of the training, from 1.
        ledger: What it saved so far.
        used: Whether a backward pass has read any of it.
        measurement: What is measured in it; None in an ordinary step.
        sharing: The tensor that its backward pass keeps for its next reader.
        inner: What is known of backward passes inside of forward.
        thread: The thread that has begun it: what others save in it meanwhile is not measured.
        choices: The forms that regions were given in steps before.
    """

    __slots__ = ("__weakref__", "choices", "inner", "ledger", "measurement", "number", "sharing", "thread", "used")

    def __init__(self, number: int, inner: InnerPasses, choices: Choices) -> None:
        self.number = number
        self.inner = inner
        self.choices = choices
        self.ledger = Ledger()
        self.measurement: Measurement | None = None
        self.sharing = Sharing(self.ledger)
        self.thread = threading.get_ident()
        self.used = False


class Steps:
    """Counts steps by the life of what is packed, however often a context is opened.

    A step ends when everything packed in it has been released, by backward or because its graph was dropped; the
    next save begins another.

    Args:
        measurer: Told of every new step.
        small: Below which size tensors stay as they are.
        choices: See below.

    Attributes:
        count: Number of the last step.
        again: Counts what checkpointed blocks save when they run again; None where that is not compressed.
        choices: The forms that regions were given.
    """

    def __init__(self, measurer: Measurer, small: Small, choices: Choices | None = None) -> None:
        self.count = 0
        self.choices = choices or Choices()
        self.small = small
        self.again: Steps | None = None
        self.inner = InnerPasses()
        self._measurer = measurer
        self.ledger = Ledger()
        self._alive: weakref.ref[Step] | None = None
        self._lock = new_lock()

    def current(self) -> Step:
        """The step that a save of now belongs to. Hold it with what is packed."""
        alive = self._alive
        step = alive() if alive is not None else None
        if step is None or (step.used and not in_backward()):
            return self._begin(step)
        return step

    def is_measured(self) -> bool:
        """Whether sensitivities are measured in the step that is alive."""
        step = self._alive() if self._alive is not None else None
        return step is not None and step.measurement is not None

    def _begin(self, last: Step | None) -> Step:
        with self._lock:
            step = self._alive() if self._alive is not None else None
            if step is None or step is last:
                self.count += 1
                self.inner.begin_step()
                step = Step(self.count, self.inner, self.choices)
                self._measurer.begin_step(step, self.ledger)
                self._alive = weakref.ref(step)
                self.ledger = step.ledger
        return step

"""Steps: which saves belong together, and the figures of the last one."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .autograd.inner import InnerPasses, in_backward
from .ledger import Ledger
from .sharing import Sharing

if TYPE_CHECKING:
    from .precision.controller import Controller
    from .precision.measurement import Measurement


class Step:
    """Alive as long as anything packed in one step is.

    Attributes:
        number: Which step of the training, from 1.
        ledger: What it saved so far.
        used: Whether a backward pass has read any of it.
        measurement: What is measured in it; None in an ordinary step.
        sharing: The tensor that its backward pass keeps for its next reader.
        inner: What is known of backward passes inside of forward.
    """

    __slots__ = ("__weakref__", "inner", "ledger", "measurement", "number", "sharing", "used")

    def __init__(self, number: int, inner: InnerPasses) -> None:
        self.number = number
        self.inner = inner
        self.ledger = Ledger()
        self.measurement: Measurement | None = None
        self.sharing = Sharing(self.ledger)
        self.used = False


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


class Steps:
    """Counts steps by the life of what is packed, however often a context is opened.

    A step ends when everything packed in it has been released, by backward or because its graph was dropped; the
    next save begins another.

    Args:
        controller: Told of every new step.
    """

    def __init__(self, controller: Controller) -> None:
        self.count = 0
        self.inner = InnerPasses()
        self._controller = controller
        self.ledger = Ledger()
        self._alive: weakref.ref[Step] | None = None
        self._measured: Measured | None = None
        self._lock = threading.Lock()

    def current(self) -> Step:
        """The step that a save of now belongs to. Hold it with what is packed."""
        alive = self._alive
        step = alive() if alive is not None else None
        if step is None or (step.used and not in_backward()):
            return self._begin(step)
        return step

    def measured(self) -> Measured | None:
        """The measurement of the current step or of the one before, whose other losses may come later."""
        return self._measured

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
                step = Step(self.count, self.inner)
                step.measurement = self._controller.begin_step(self.count, step.ledger)
                if step.measurement is not None:
                    self._measured = Measured(self.count, step.ledger, step.measurement)
                elif self._measured is not None and self._measured.number < self.count - 1:
                    self._measured = None
                self._alive = weakref.ref(step)
                self.ledger = step.ledger
        return step

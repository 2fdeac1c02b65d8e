"""Measures sensitivities in the backward passes of a training, whatever library begins them.

A step in which a measurement is due is watched from its first save on. The backward pass over its graph is then met
before it runs, whether it was begun by ``loss.backward()``, by a trainer or by a pipeline schedule.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Iterator

from torch import nn

from .autograd.passes import Pass, unwatch, watch
from .compiled import step_of
from .forks import new_lock
from .notices import Notices
from .precision.aside import preserved_state
from .precision.controller import Controller
from .precision.graph import Roots, saves_of
from .precision.measurement import Measured
from .precision.probe import Snapshot
from .saved.ledger import Ledger
from .saved.steps import Step
from .text import mebibytes

_log = logging.getLogger("gact")
_ALONE = 2
"""Steps, one after another, that inner passes alone have read, until it is told."""
_INSIDE = (
    "gact compresses nothing of what torch.autograd.grad reads inside of the context, where it is taken for a gradient "
    "that the loss contains, and no other backward pass has read these steps. Leave the context before, or call "
    "backward()."
)
_PAST = "its backward pass was begun neither by torch.autograd.backward nor by torch.autograd.grad."


class Measuring:
    """Has the steps of one compressor measured when that is due.

    Args:
        model: The network, if it is known.
        controller: Decides what is due, and chooses widths.
        notices: What to warn of.
    """

    def __init__(self, model: nn.Module | None, controller: Controller, notices: Notices) -> None:
        self._model = model
        self._controller = controller
        self._notices = notices
        self._lock = new_lock()
        self._watch: _Watch | None = None

    def begin_step(self, step: Step, before: Ledger) -> None:
        """Begins a step, and watches it if there is something to measure.

        Args:
            step: The step.
            before: What the step before has saved.
        """
        controller = self._controller
        last, self._watch = self._watch, None
        self.end_step(before)
        if step.inner.alone >= _ALONE:
            self._notices.give(_INSIDE)
        controller.replicas.begin_step(step.ledger)
        if not controller.settings.adaptive and not controller.is_asked:
            return
        if last is not None and last.is_missed(before) and not controller.failure:
            controller.failure = _PAST
        step.measurement = controller.begin_step(step.number, step.ledger)
        self._tell()
        if step.measurement is not None or controller.snapshot is not None:
            self._watch = _Watch(self, step, controller.measured() if step.measurement is not None else None)
            watch(step, self._watch)

    def end_step(self, ledger: Ledger) -> None:
        """Notes what a step has shown that may have ended; it may be called several times for one step.

        Args:
            ledger: What the step has saved.
        """
        replicas = self._controller.replicas
        replicas.end_step()
        if ledger.was_read and (replicas.group is None or replicas.count):
            self._controller.use(self._model)
        self._controller.take_up()

    @contextlib.contextmanager
    def around(self, step: Step, measured: Measured | None, begun: Pass) -> Iterator[None]:
        """Measures before a backward pass over the graph of a step, and compares its gradient with an earlier one's."""
        controller, roots = self._controller, Roots.of_pass(begun)
        if begun.creates_graph or step.inner.is_asked_for or not controller.is_joint:
            yield
            return
        snapshot, taken = controller.snapshot, None
        if measured is not None and self._lock.acquire(blocking=False):
            try:
                taken = self._measure(measured, step, roots)
            finally:
                self._lock.release()
        with contextlib.nullcontext() if taken is None else taken.own_gradient(roots):
            if snapshot is None or controller.snapshot is not snapshot:
                yield
                snapshot = None
            else:
                with snapshot.next_gradient(roots):
                    yield
        if snapshot is None:
            controller.take_up()
            self._tell()
            return
        controller.learn_variance(snapshot)
        controller.take_up()
        self._tell()
        if controller.snapshot is None and measured is None:
            unwatch(step)

    def alone(self) -> contextlib.AbstractContextManager[object]:
        """Meanwhile, backward passes over the graph of a step are somebody's own and measure nothing."""
        return self._lock

    def _measure(self, measured: Measured, step: Step, roots: Roots) -> Snapshot | None:
        """Measures; returns the sample of the gradient that was taken."""
        controller = self._controller
        if controller.failure:
            return None
        passes = controller.passes
        with step.inner.closed():
            taken = controller.measure(measured, roots, preserved_state(self._model, roots))
        self._tell()
        if controller.passes > passes and controller.reach is not None:
            _log.info(self._line(measured.number, controller.passes - passes))
        return taken

    def _line(self, number: int, passes: int) -> str:
        """What a measurement has come to, for the log."""
        controller = self._controller
        reach = controller.reach
        assert reach is not None
        widths = controller.widths.values()
        return (
            f"step {number}: {passes} backward passes measured {len(controller.findings)} sites; widths from "
            f"{min(widths)} to {max(widths)} bits, {mebibytes(reach.held)} MiB held of "
            f"{mebibytes(reach.totals.plain)} MiB, {reach.ratio:.2f}x smaller, "
            f"gradient noise {controller.noise:.1e} predicted"
        )

    def _tell(self) -> None:
        """Warns of what is not as it was asked for."""
        controller, notices = self._controller, self._notices
        if controller.failure:
            notices.unmeasured(controller.failure, controller.settings, known=bool(controller.findings))
        notices.ranks(controller.parted, controller.is_unanswered)
        if controller.reach is not None and controller.reach.is_missed:
            notices.over_budget(controller.settings, controller.reach)
        if controller.is_noisy and controller.noise is not None:
            notices.noisy(controller.noise, controller.batch_variance)


class _Watch:
    """Meets the backward passes over the graph of one step.

    Args:
        measuring: What it is for.
        step: The step; held weakly, since it ends with what is packed in it.
        measured: What is measured in it; None if a gradient is to be read.
    """

    def __init__(self, measuring: Measuring, step: Step, measured: Measured | None) -> None:
        self._measuring = measuring
        self._step = weakref.ref(step)
        self._ledger = step.ledger
        self._measured = measured
        self._met = False

    def is_missed(self, before: Ledger) -> bool:
        """Whether a backward pass has read the step, which was the last, and none was met."""
        return self._measured is not None and not self._met and self._ledger is before and before.was_read

    @contextlib.contextmanager
    def around(self, begun: Pass) -> Iterator[None]:
        """What a backward pass runs in."""
        step = self._step()
        if step is None or not saves_of(step, begun.roots, step_of):
            yield
            return
        self._met = True
        with self._measuring.around(step, self._measured, begun):
            yield

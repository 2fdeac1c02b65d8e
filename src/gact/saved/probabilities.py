"""Results of log-softmax, which wait until it is seen what weighs them.

A label or a class index reads one log-probability of a row, and codes of the probabilities serve its gradient. A weight
that is itself a probability (a distillation, an entropy, a divergence) gives a gradient that almost cancels against
them: then they stay exact. The op that tells comes a little later in forward.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import DisableTorchFunction
from ..codecs.forms import Form
from ..operators.losses import LOG_PROBABILITIES, Notes, is_weighed
from ..operators.need import Need, exact
from .save import Save

ENDING: frozenset[Any] = frozenset({Tensor.backward, torch.autograd.backward})
"""Functions before which nothing may wait any more."""
_MOST = 4
_WEIGHED = exact("weighed by probabilities")


class Probabilities:
    """The results of log-softmax of one thread that wait, held weakly: those of a graph that is dropped go with it.

    Args:
        hold: Called with each, what is needed of it, which is all of it if what weighs it is no label, and its form.
    """

    def __init__(self, hold: Callable[[Save, Need, Form], None]) -> None:
        self.saves: list[tuple[weakref.ref[Save], Form, Notes]] = []
        self._hold = hold

    def add(self, save: Save, form: Form, notes: Notes) -> None:
        """Has a result wait; the one that has waited longest waits no more if there are many.

        Args:
            save: The result.
            form: The form in which its probabilities are coded.
            notes: The metadata of its node, where it stands what weighs it.
        """
        self.saves.append((weakref.ref(save), form, notes))
        if len(self.saves) > _MOST:
            self._take(*self.saves.pop(0))

    def close(self) -> None:
        """Settles all that wait."""
        while self.saves:
            self._take(*self.saves.pop(0))

    def end(self) -> None:
        """Settles all that wait for the last time, and lets go of who does."""
        self.close()
        self._hold = _hold_nothing

    def _take(self, reference: weakref.ref[Save], form: Form, notes: Notes) -> None:
        save = reference()
        if save is not None and save.result is None:
            with DisableTorchFunction():
                self._hold(save, _WEIGHED if is_weighed(notes) else LOG_PROBABILITIES, form)


def _hold_nothing(save: Save, needed: Need, form: Form) -> None:
    """In the place of who holds results, once none waits any more."""

"""Backward passes that forward itself runs: a loss that contains a gradient.

NOTE: Why they are told apart
Codes change nothing in forward, unless forward runs backward: the force of a learned potential, the penalty on a
gradient, an inner step of meta-learning. What such a pass reads has to be exact, or the loss would be another one. No
pack hook can know what will be read so, but the first pass shows it, and the same places save in the next step.

NOTE: The first step
A gradient with respect to an input needs an input that asks for one. Where a leaf that is no parameter of the model
turns up, values of the step stay exact until such a step has shown whether it runs an inner pass. Leaves that ask for a
gradient from within a module (what frozen embeddings give, to have checkpointing work) are no such sign.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..records import Site
from .internals import graph_task

SiteOf = Callable[[str, str, int, int], Site]


def in_backward() -> bool:
    """Whether this thread is running a backward pass."""
    return bool(graph_task() != -1)


class InnerPasses:
    """What is known of the backward passes that a training runs inside of its forward passes.

    Attributes:
        sites: Places whose tensors such a pass has read.
        expects: Whether steps with an input that needs a gradient run such a pass; None until one has shown it.
        alone: How many steps before this one, one after another, were read by such passes and by no other.
    """

    def __init__(self) -> None:
        self._open: set[object] = set()
        self.sites: set[Site] = set()
        self.expects: bool | None = None
        self.alone = 0
        self._gradients = 0
        self._made: dict[int, weakref.ref[Tensor]] = {}
        self._has_input = self._was_read = self._was_used = False

    def enter(self, who: object) -> None:
        """A context of the compressor is open, on some thread."""
        self._open.add(who)

    def leave(self, who: object) -> None:
        """It is no more."""
        self._open.discard(who)

    def begin_step(self) -> None:
        """Begins a step, with what the last one has shown."""
        if self._has_input and (self._was_read or self._was_used):
            self.expects = self._was_read
        self.alone = self.alone + 1 if self._was_read and not self._was_used else 0
        self._has_input = self._was_read = self._was_used = False

    def meet_input(self, leaf: Tensor) -> None:
        """Notes that a leaf which is no parameter asks for a gradient in this step."""
        made = self._made.get(id(leaf))
        if made is None or made() is not leaf:
            self._has_input = True

    def make_input(self, leaf: Tensor) -> None:
        """Notes that a module has a tensor ask for a gradient, which is then no sign of an inner pass."""
        self._made = {place: made for place, made in self._made.items() if made() is not None}
        self._made[id(leaf)] = weakref.ref(leaf)

    @property
    def is_suspected(self) -> bool:
        """Whether this step may run such a pass, and no step has shown yet what it reads."""
        return self._has_input and self.expects is None

    def begin_gradient(self) -> None:
        """What is read from now on is read for ``torch.autograd.grad``."""
        self._gradients += 1

    def end_gradient(self) -> None:
        """That is over."""
        self._gradients -= 1

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Passes in here are none of forward's own, wherever they are run."""
        before, self._open = self._open, set()
        try:
            yield
        finally:
            self._open = before

    def is_reading(self) -> bool:
        """Whether the backward pass that reads now is one of forward's own.

        It runs inside a context and is either to be differentiated itself or asked for by ``torch.autograd.grad``.
        """
        return bool(self._open) and (self._gradients > 0 or torch.is_grad_enabled())

    @property
    def is_asked_for(self) -> bool:
        """Whether ``torch.autograd.grad`` was called inside a context and still runs."""
        return bool(self._open) and self._gradients > 0

    def read(self, site: Site | None) -> None:
        """Notes that such a pass has read what a place saved; None for a place that is exact anyway."""
        self._was_read = True
        if site is not None:
            self.sites.add(site)

    def use(self) -> None:
        """Notes that the step's own backward pass has begun."""
        self._was_used = True

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, in plain texts and numbers."""
        sites = sorted([site.module, site.op, site.call, site.slot] for site in self.sites)
        return {"sites": sites, "expects": self.expects}

    @staticmethod
    def checked(state: Mapping[str, Any], site_of: SiteOf) -> tuple[set[Site], bool | None]:
        """What ``state`` told.

        Args:
            state: What it returned.
            site_of: Gives the site of four names.

        Raises:
            ValueError: If it is no such state.
        """
        try:
            sites = {site_of(str(module), str(op), int(call), int(slot)) for module, op, call, slot in state["sites"]}
            expects = state["expects"]
            if expects not in (True, False, None):
                raise ValueError(f"{expects!r} where True, False or None is expected")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"the state of inner passes is damaged ({error!r}). Pass what state_dict() returned."
            ) from error
        return sites, expects

    def load(self, sites: set[Site], expects: bool | None) -> None:
        """Sets the state that ``checked`` gave."""
        self.sites, self.expects = sites, expects

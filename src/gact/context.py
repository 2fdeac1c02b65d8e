"""Contexts of a compressor: what is opened when a thread enters, and closed when it leaves."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

from . import compiled
from .autograd.hooks import Hooks, transform_is_active
from .autograd.internals import backward_is_compiled
from .autograd.modules import follow, unfollow
from .autograd.opening import Opened, gravest, take_off
from .checkpoint.checkpointing import Checkpointing
from .compiled import handles
from .memory.serving import Serving
from .notices import ASIDE, NOT_COMPILED, Notices
from .operators import prepare
from .packing.consumers import Consumers
from .packing.offload import Offload
from .packing.packer import Packer
from .packing.rules import Rules
from .packing.sites import Sites
from .precision.controller import Controller
from .remat.observer import Observer
from .remat.recipes import Recipes
from .saved.held import HeldRegions
from .saved.parameters import Parameters
from .saved.steps import Steps
from .saved.unpacking import unpack


class _Thread(threading.local):
    """How deep a thread has entered, and what belongs to its outermost level."""

    depth = 0
    packer: Packer | None = None

    def __init__(self) -> None:
        self.opened = Opened()


@dataclass(frozen=True, slots=True)
class Parts:
    """What all contexts of a compressor share.

    Attributes:
        model: The network, if there is one.
        controller: Chooses widths; has the settings.
        steps: Tells steps apart.
        sites: Names of places that save.
        rules: What the user wants for some tensors.
        offload: Moves what is packed elsewhere; None if it stays.
        checkpointing: Has blocks run under checkpoint; None if none do.
        serving: Has large tensors of a step come from the allocator.
        notices: What to warn of.
    """

    model: torch.nn.Module | None
    controller: Controller
    steps: Steps
    sites: Sites
    rules: Rules
    offload: Offload | None
    checkpointing: Checkpointing | None
    serving: Serving
    notices: Notices


Self = TypeVar("Self", bound="Context")


class Context:
    """A context manager that opens everything on each thread that enters, and closes it when that leaves.

    Args:
        parts: What the contexts of all threads share.
    """

    def __init__(self, parts: Parts) -> None:
        self._thread = _Thread()
        self._parts = parts
        self._held = HeldRegions()

    def __enter__(self: Self) -> Self:
        """Starts compressing what this thread saves; entering again inside changes nothing."""
        thread, parts = self._thread, self._parts
        depth = thread.depth
        try:
            if not depth and parts.controller.settings.enabled:
                if transform_is_active():
                    parts.notices.give(ASIDE)
                elif backward_is_compiled():
                    parts.notices.give(NOT_COMPILED)
                else:
                    self._open(thread)
            thread.depth = depth + 1
            return self
        except BaseException as error:
            raise gravest([error, *self._leave(thread, depth)])  # noqa: B904 - mostly this very error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """Stops compressing; what was saved inside stays valid until backward has used it."""
        thread = self._thread
        depth = thread.depth - 1
        packer = thread.packer
        try:
            if depth < 0:
                raise RuntimeError(
                    "gact.Compressor was left on a thread that had not entered it. Use it in a with statement."
                )
            errors = self._leave(thread, depth)
        except BaseException as interrupt:
            errors = [interrupt, *self._leave(thread, max(depth, 0))]
        if errors:
            worst = gravest(errors if error is None else [error, *errors])
            if worst is not error:
                raise worst
        if kind is None and packer is not None and not depth:
            self._tell(packer)

    def _leave(self, thread: _Thread, depth: int) -> list[BaseException]:
        """Sets how deep a thread is in, and closes everything at 0. May be run again after an interrupt."""
        errors = [] if depth else thread.opened.close()
        if not depth:
            thread.packer = None
        thread.depth = depth
        return errors

    def _tell(self, packer: Packer) -> None:
        """Warns of what a context should have done and has not."""
        steps, notices, offload = self._parts.steps, self._parts.notices, self._parts.offload
        settings = self._parts.controller.settings
        if steps.inner.is_suspected:
            return  # the step keeps what it saves, to see what its input's gradient is for
        if not packer.holding.compressed and not steps.ledger.offloaded_bytes:
            notices.nothing(packer.saves, steps.ledger, settings)
        elif offload is not None and not steps.ledger.offloaded_bytes:
            notices.give(
                f"offload={settings.offload!r} has moved nothing: host memory is for tensors of another device, "
                "and a rule with offload=True must match some. report() names what is held."
            )
        for rule in self._parts.rules.unmatched() if packer.saves else ():
            notices.give(f"{rule} matched no saved tensor. report() names the modules and ops that save.")

    def _open(self, thread: _Thread) -> None:
        parts = self._parts
        settings, steps, notices = parts.controller.settings, parts.steps, parts.notices
        prepare()
        opened, context = thread.opened, object()
        consumers = Consumers(parts.sites)
        parameters, recipes = Parameters(parts.model), Recipes(steps)
        packer = Packer(
            settings,
            parts.controller,
            steps,
            self._held,
            recipes,
            parameters,
            consumers,
            parts.rules,
            parts.offload,
        )
        observer = Observer(recipes, self._held, steps.small, consumers.run)
        inner = steps.inner
        pair = compiled.pair() if compiled.is_possible() else None
        hooks = Hooks(packer.pack, unpack, lambda: notices.give(ASIDE), pair)
        receiver = compiled.Receiver(packer, consumers, parameters, settings.bits)
        consumers.serve(packer, inner, hooks.in_charge)
        opened.add(consumers.release)
        opened.add(packer.close)
        opened.add(lambda: handles.serve(None))
        handles.serve(receiver)
        opened.add(hooks.pop)
        hooks.push()
        opened.add(lambda: inner.leave(packer))
        inner.enter(packer)
        opened.add(lambda: unfollow(consumers))
        opened.add(lambda: take_off(consumers))
        consumers.__enter__()
        replicas = parts.controller.replicas
        if replicas.are_possible:
            opened.add(lambda: unfollow(replicas))
            follow(replicas)
        if settings.derive:
            consumers.observe(observer.run)
        consumers.watch(hooks, notices.foreign)
        packer.steep.tell = notices.rounded
        if parts.checkpointing is not None:
            opened.add(partial(parts.checkpointing.close, context))
            parts.checkpointing.open(context)
        opened.add(lambda: parts.serving.end(context, entered=thread.depth > 0))
        parts.serving.begin(context)
        thread.packer = packer

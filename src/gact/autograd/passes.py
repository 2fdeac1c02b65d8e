"""Tells watchers of every backward pass before it runs, whatever library begins it.

NOTE: Where a pass begins
``Tensor.backward``, ``torch.autograd.backward`` and ``torch.autograd.grad`` all end in one function of
``torch.autograd``, and so do Accelerate, Lightning, ``GradScaler`` and pipeline schedules, which call one of the three.
While somebody asks, that function is replaced by one of ours; torch itself replaces it when it traces. Other places
were tried and are worse, see ``docs/training.md``.

NOTE: What is left alone
Passes that run inside of another one, that a measurement runs, or that are traced go straight on. The replacement is
there only while somebody who asks is alive: from the forward of a step that is measured to its backward. If somebody
else has put a function on top meanwhile, ours stays beneath it and lets everything pass, and the next is put on top.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from ..forks import new_reentrant_lock
from .inner import in_backward
from .internals import backward_engine, set_backward_engine, transform_level
from .interrupts import finish

_Engine = Callable[..., Any]
Root = Tensor | GradientEdge
"""Where a pass begins: a tensor, or a node and one of its results."""


class Pass(NamedTuple):
    """A backward pass that is about to run.

    Attributes:
        roots: Where it begins.
        gradients: The gradient of each root; None for that of a scalar.
        creates_graph: Whether it is to be differentiated itself.
    """

    roots: tuple[Root, ...]
    gradients: tuple[Tensor | None, ...]
    creates_graph: bool = False


class Watcher(Protocol):
    """Somebody who wants to be there when a backward pass runs."""

    def around(self, begun: Pass) -> contextlib.AbstractContextManager[None]:
        """What the pass runs in."""
        ...


def watch(owner: object, watcher: Watcher) -> None:
    """Tells a watcher of all backward passes of the process from now on.

    Args:
        owner: As long as it is alive; it is held weakly.
        watcher: Is told of each pass.
    """
    _watched.add(owner, watcher)


def unwatch(owner: object) -> None:
    """Ends what ``watch`` began; does nothing if it was not called."""
    finish(_watched.discard, id(owner))


class _Watched:
    """The watchers, and the function that stands in for torch's meanwhile."""

    def __init__(self) -> None:
        self._lock = new_reentrant_lock()  # a weak reference may die while the lock is held
        self._watchers: dict[int, tuple[weakref.ref[object], Watcher]] = {}
        self._busy: set[int] = set()
        self._ours: _Engine | None = None
        self._plain: _Engine = backward_engine()

    def add(self, owner: object, watcher: Watcher) -> None:
        key = id(owner)
        reference = weakref.ref(owner, lambda _: finish(self.discard, key))
        with self._lock:
            self._watchers[key] = (reference, watcher)
            current = backward_engine()
            if current is not self._ours:
                self._plain, self._ours = current, self._engine(current)
                set_backward_engine(self._ours)

    def discard(self, key: int) -> None:
        with self._lock:
            self._watchers.pop(key, None)
            if not self._watchers and self._ours is not None:
                if backward_engine() is self._ours:
                    set_backward_engine(self._plain)
                self._ours = None

    def _all(self) -> list[Watcher]:
        with self._lock:
            return [watcher for reference, watcher in self._watchers.values() if reference() is not None]

    def _engine(self, plain: _Engine) -> _Engine:
        """What stands in for a function; it only passes calls on once another is made or no watcher is left."""

        def run(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            watchers = self._all() if self._ours is run else []
            thread = threading.get_ident()
            if not watchers or thread in self._busy or in_backward() or len(args) < 3:
                return plain(outputs, *args, **kwargs)
            if torch.compiler.is_compiling() or transform_level() is not None:
                return plain(outputs, *args, **kwargs)
            begun = Pass(tuple(outputs), tuple(args[0]), bool(args[2]))
            with contextlib.ExitStack() as around:
                self._busy.add(thread)
                try:
                    for watcher in watchers:
                        around.enter_context(watcher.around(begun))
                finally:
                    self._busy.discard(thread)
                del begun, watchers
                return plain(outputs, *args, **kwargs)

        return run


_watched = _Watched()

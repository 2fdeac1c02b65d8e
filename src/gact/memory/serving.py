"""Has large CPU tensors come from the allocator in compressed training steps, and in nothing else of the process.

NOTE: From where to where
A step lasts from the entry of a context to the end of the optimizer's step that comes after it, so that backward and
the optimizer's scratch memory find what forward has freed. Evaluation, other trainings and all else have the C library,
as they would without this package. Where none of ``torch.optim``'s optimizers is used, nothing tells that a step has
ended, and the allocator goes on.

NOTE: The hook stays
Torch walks through the hooks of all optimizers while it calls them, and bears no change meanwhile, on any thread. So
ours is put in once, with the first compressor of a model on the CPU, and does nothing where no step is to end.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from ..forks import new_lock
from .allocator import follow_environment, is_for_steps_of, serve_steps


class _Process:
    """The contexts that are open in the whole process, and the hook that sees optimizers."""

    lock = new_lock()
    contexts: ClassVar[set[object]] = set()
    hook: RemovableHandle | None = None
    served: object | None = None


class Serving:
    """The training steps of one compressor.

    Args:
        model: The network; only what trains on the CPU is served.
    """

    def __init__(self, model: nn.Module | None) -> None:
        follow_environment()
        self._wanted = is_for_steps_of(model)
        if self._wanted:
            with _Process.lock:
                if _Process.hook is None:
                    _Process.hook = register_optimizer_step_post_hook(_optimizer_has_stepped)

    def begin(self, context: object) -> None:
        """Says that a context was entered.

        Args:
            context: Tells it from others.
        """
        if not self._wanted:
            return
        with _Process.lock:
            _Process.contexts.add(context)
            if _Process.served is None:
                _Process.served = context
            serve_steps(True)

    def end(self, context: object, entered: bool = True) -> None:
        """Says that a context was left; the step goes on.

        Args:
            context: As of ``begin``, which may not have come to it.
            entered: False if entering failed: what was to be a step has not begun.
        """
        with _Process.lock:
            _Process.contexts.discard(context)
            if not entered and _Process.served is context:
                _end_step()


def _end_step() -> None:
    """Ends what is served now, under the lock, if no context is open."""
    if not _Process.contexts and _Process.served is not None:
        serve_steps(False)
        _Process.served = None


def _optimizer_has_stepped(*_: Any) -> None:
    with _Process.lock:
        _end_step()

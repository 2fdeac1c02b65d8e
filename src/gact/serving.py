"""Has large CPU tensors come from the allocator in compressed training steps, and in nothing else of the process.

NOTE: From where to where
A step lasts from the entry of a context to the end of the optimizer's step that comes after it, so that backward and
the optimizer's scratch memory find what forward has freed. Evaluation, other trainings and all else have the C library,
as they would without this package. Where none of ``torch.optim``'s optimizers is used, nothing tells that a step has
ended, and the allocator goes on.
"""

from __future__ import annotations

import threading
from typing import Any

from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from .allocator import follow_environment, is_for_steps_of, serve_steps


class _Process:
    """The contexts that are open in the whole process, and the hook that sees optimizers."""

    lock = threading.Lock()
    contexts = 0
    hook: RemovableHandle | None = None


class Serving:
    """The training steps of one compressor.

    Args:
        model: The network; only what trains on the CPU is served.
    """

    def __init__(self, model: nn.Module | None) -> None:
        follow_environment()
        self._wanted = is_for_steps_of(model)

    def begin(self) -> None:
        """Says that a context was entered."""
        if not self._wanted:
            return
        with _Process.lock:
            _Process.contexts += 1
            if _Process.hook is None:
                _Process.hook = register_optimizer_step_post_hook(_optimizer_has_stepped)
            serve_steps(True)

    def end(self) -> None:
        """Says that the context was left."""
        if self._wanted:
            with _Process.lock:
                _Process.contexts -= 1


def _optimizer_has_stepped(*_: Any) -> None:
    with _Process.lock:
        if not _Process.contexts and _Process.hook is not None:
            _Process.hook.remove()
            _Process.hook = None
            serve_steps(False)

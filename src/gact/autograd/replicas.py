"""The processes that run the same steps as this one, known by ``DistributedDataParallel``.

NOTE: What ranks have in common
A rank may run more forward passes than another, with gradients too: it evaluates, or it is another stage of a
pipeline. Whoever exchanges something after so many of its own steps leaves another rank waiting. The backward passes
in which ``DistributedDataParallel`` reduces gradients are the same on all ranks, or training itself would hang. So
ranks exchange only there, and count those.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from .internals import active_parallel


class Read(Protocol):
    """What a step has saved.

    Attributes:
        was_read: Whether a backward pass has read it.
    """

    was_read: bool


class Replicas:
    """The other processes of one training, as far as they are known.

    Attributes:
        count: Steps so far whose gradients were reduced; the same number on all ranks.
    """

    def __init__(self, model: torch.nn.Module | None) -> None:
        self.count = 0
        self._parallel: weakref.ref[DistributedDataParallel] | None = None
        self._reduces = False
        self._step: Read | None = None
        for module in () if model is None else model.modules():
            if isinstance(module, DistributedDataParallel):
                self._parallel = weakref.ref(module)

    def module_ends(self, module: torch.nn.Module) -> None:
        """Is of no interest."""

    def module_begins(self, module: torch.nn.Module) -> None:
        """Notes that a forward of ``DistributedDataParallel`` begins."""
        if isinstance(module, DistributedDataParallel) and torch.is_grad_enabled():
            self._parallel = weakref.ref(module)
            if self._step is not None and not self._step.was_read:  # else it is for the next step, which begins inside
                self._runs(module)

    def _runs(self, parallel: DistributedDataParallel) -> None:
        self._parallel = weakref.ref(parallel)
        self._reduces = bool(parallel.require_backward_grad_sync)

    def end_step(self) -> None:
        """Counts the step, if a backward pass has read it, once."""
        if self._reduces and self._step is not None and self._step.was_read:
            self.count += 1
            self._reduces = False

    def begin_step(self, step: Read) -> None:
        """Begins a step.

        Args:
            step: What it will have saved.
        """
        self.end_step()
        self._step = step
        self._reduces = False
        active = active_parallel()
        if isinstance(active, DistributedDataParallel):  # the first save of the step is inside of that forward
            self._runs(active)

    @property
    def are_possible(self) -> bool:
        """Whether this process is one of several."""
        return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1

    @property
    def group(self) -> Any:
        """The process group, if there are others; None if there are not, or none are known."""
        parallel = None if self._parallel is None else self._parallel()
        group: Any = None if parallel is None else parallel.process_group
        return None if group is None or dist.get_world_size(group) < 2 else group

    @property
    def may_reduce(self) -> bool:
        """Whether the backward of a forward that runs now would reduce: it is not inside of ``no_sync``."""
        parallel = None if self._parallel is None else self._parallel()
        return parallel is not None and bool(parallel.require_backward_grad_sync)

    @property
    def reduces(self) -> bool:
        """Whether the step has run a forward whose backward reduces."""
        return self._reduces

"""The processes that run the same steps as this one, known by ``DistributedDataParallel``.

NOTE: What ranks have in common
A rank may run more forward passes than another, with gradients too: it evaluates, or it is another stage of a
pipeline. The backward passes in which ``DistributedDataParallel`` reduces gradients are the same on all ranks, or
training itself would hang. So those are counted, and measured. Where a process group is given and no such module is
seen, all steps that a backward pass has read are.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from .internals import active_parallel, store_of


class Read(Protocol):
    """What a step has saved.

    Attributes:
        was_read: Whether a backward pass has read it.
    """

    was_read: bool


class Replicas:
    """The other processes of one training, as far as they are known.

    Args:
        model: The network.
        group: The process group; None for that of ``DistributedDataParallel``.

    Attributes:
        count: Steps so far whose gradients were reduced; the same number on all ranks.
    """

    def __init__(self, model: torch.nn.Module | None, group: Any = None) -> None:
        self.count = 0
        self._given = group
        self._is_alone = False
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
        self._reduces = self._given is not None and self._parallel is None
        active = active_parallel()
        if isinstance(active, DistributedDataParallel):  # the first save of the step is inside of that forward
            self._runs(active)

    @property
    def are_possible(self) -> bool:
        """Whether this process is one of several."""
        return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1

    def leave(self) -> None:
        """From now on there are no others."""
        self._is_alone = True

    @property
    def group(self) -> Any:
        """The process group, if there are others; None if there are not, or none are known."""
        parallel = None if self._parallel is None else self._parallel()
        group: Any = self._given
        if group is None and parallel is not None:
            group = parallel.process_group
        return None if self._is_alone or group is None or dist.get_world_size(group) < 2 else group

    @property
    def may_reduce(self) -> bool:
        """Whether the backward of a forward that runs now would reduce: it is not inside of ``no_sync``."""
        parallel = None if self._parallel is None else self._parallel()
        return self._given is not None if parallel is None else bool(parallel.require_backward_grad_sync)

    @property
    def reduces(self) -> bool:
        """Whether the step has run a forward whose backward reduces."""
        return self._reduces


def store_for(group: Any, name: str) -> Any:
    """Keys of one name that the ranks of a process group share, over a connection that nobody else waits on.

    Args:
        group: The group.
        name: The same on all ranks, and of no other store.
    """
    store = store_of(group)
    with contextlib.suppress(RuntimeError, NotImplementedError, AttributeError):  # not every store can
        store = store.clone()
    return dist.distributed_c10d.PrefixStore(f"gact/{name}", store)

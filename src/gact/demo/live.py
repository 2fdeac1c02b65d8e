"""Counts the bytes of the tensors that are alive, operation by operation.

NOTE: What is counted
After every operation that reaches PyTorch's dispatcher, in forward and in backward alike, the storages of its results
are added to a table that holds them weakly, and those that died meanwhile are dropped. Nothing can free memory between
the end of an operation and the count, so no peak between two operations is missed. Scratch memory that a kernel frees
before it returns is not seen, neither plain torch's nor gact's: the same counter, with the same blind spot, measures
every way of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .results import Timeline


class LiveBytes(TorchDispatchMode):
    """Follows the memory of tensors while it is active as a context.

    Args:
        tensors: What is alive already and counts: parameters, optimizer state, the batch.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self._phases: list[str] = []
        self._samples: list[list[int]] = []
        for tensor in tensors:
            self._add(tensor)

    def begin(self, phase: str) -> None:
        """Start a phase of the step; the samples that follow belong to it."""
        self._phases.append(phase)
        self._samples.append([self.live_bytes()])

    def live_bytes(self) -> int:
        """Bytes alive now, each storage once."""
        self._storages = {key: (ref, size) for key, (ref, size) in self._storages.items() if not ref.expired()}
        return sum(size for _, size in self._storages.values())

    def timeline(self) -> Timeline:
        """The samples of all phases."""
        return Timeline(tuple(self._phases), tuple(tuple(samples) for samples in self._samples))

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, add its results, take a sample."""
        results = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        if self._samples:
            self._samples[-1].append(self.live_bytes())
        return results

    def _add(self, tensor: Tensor) -> None:
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            known = self._storages.get(storage._cdata)
            # The weak reference keeps an address from being reused, so an address that is known is the same storage.
            self._storages[storage._cdata] = (known[0] if known else StorageWeakRef(storage), storage.nbytes())

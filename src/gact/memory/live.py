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

from ..autograd.internals import StorageWeakRef, TorchDispatchMode, tree_leaves


class LiveTensors(TorchDispatchMode):
    """Follows the memory of tensors while it is active as a context.

    Args:
        tensors: What is alive already and counts: parameters, optimizer state, the batch.
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._storages: dict[int, tuple[StorageWeakRef, int, Any]] = {}
        for tensor in tensors:
            self.add(tensor, None)

    def live_bytes(self) -> int:
        """Bytes alive now, each storage once."""
        self._storages = {key: entry for key, entry in self._storages.items() if not entry[0].expired()}
        return sum(size for _, size, _ in self._storages.values())

    def alive(self) -> list[tuple[int, Any]]:
        """Bytes of every storage that is alive, with what its maker was labelled."""
        return [(size, label) for ref, size, label in self._storages.values() if not ref.expired()]

    def label(self, func: Callable[..., Any]) -> Any:
        """What the results of an operation are labelled with."""
        return None

    def after(self, label: Any) -> None:
        """Called after every operation, when its results are counted."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, add its results."""
        results = func(*args, **(kwargs or {}))
        label = self.label(func)
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor):
                self.add(leaf, label)
        self.after(label)
        return results

    def add(self, tensor: Tensor, label: Any) -> None:
        """Counts the storage of a tensor, under the label it first had."""
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            known = self._storages.get(storage._cdata)
            # The weak reference keeps an address from being reused, so an address that is known is the same storage.
            reference, first = (known[0], known[2]) if known else (StorageWeakRef(storage), label)
            self._storages[storage._cdata] = (reference, storage.nbytes(), first)

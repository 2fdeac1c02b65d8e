"""Counts the bytes of the tensors that are alive, operation by operation.

NOTE: What is counted
After every operation that reaches PyTorch's dispatcher, in forward and in backward alike, the storages of its results
are added to a table, and a finalizer takes each out when it dies. Nothing can free memory between the end of an
operation and the count, so no peak between two operations is missed. Scratch memory that a kernel frees before it
returns is not seen, neither plain torch's nor gact's: the same counter, with the same blind spot, measures every way
of training.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import TorchDispatchMode, tree_leaves


class LiveTensors(TorchDispatchMode):
    """Follows the memory of tensors while it is active as a context.

    Args:
        tensors: What is alive already and counts: parameters, optimizer state, the batch.

    Attributes:
        live_bytes: Bytes alive now, each storage once.
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self._known: dict[int, _Storage] = {}
        for tensor in tensors:
            self.add(tensor, None)

    def alive(self) -> list[tuple[int, Any]]:
        """Bytes of every storage that is alive, with what its maker was labelled."""
        return [(storage.nbytes, storage.label) for storage in list(self._known.values())]

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Runs an operation."""
        return func(*args, **kwargs)

    def label(self, func: Callable[..., Any]) -> Any:
        """What the results of an operation are labelled with."""
        return None

    def count(self, nbytes: int, label: Any) -> None:
        """Notes that so many bytes with a label are alive, or with a negative number that they are so no more."""
        self.live_bytes += nbytes

    def after(self, func: Callable[..., Any], args: tuple[Any, ...], results: Any, label: Any) -> None:
        """Called after every operation, when its results are counted."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operation and counts its results."""
        results = self.run(func, args, kwargs or {})
        label = self.label(func)
        for leaf in [results] if isinstance(results, Tensor) else tree_leaves(results):
            if isinstance(leaf, Tensor):
                self.add(leaf, label)
        self.after(func, args, results, label)
        return results

    def add(self, tensor: Tensor, label: Any) -> None:
        """Counts the storage of a tensor, under the label it first had."""
        if tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._known.get(key)
        if known is None:
            self._known[key] = known = _Storage(label)
            # Torch keeps the Python object of a storage as long as the storage: it dies when the memory is freed.
            known.reference = weakref.ref(storage, partial(self._drop, key))
        if size != known.nbytes:
            self.count(size - known.nbytes, known.label)
            known.nbytes = size

    def _drop(self, key: int, _: Any) -> None:
        storage = self._known.pop(key)
        self.count(-storage.nbytes, storage.label)


class _Storage:
    """A storage that is alive, the bytes it was last seen with, and the label of its maker."""

    __slots__ = ("label", "nbytes", "reference")

    def __init__(self, label: Any) -> None:
        self.label = label
        self.nbytes = 0
        self.reference: Any = None

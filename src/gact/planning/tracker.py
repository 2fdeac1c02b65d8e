"""Counts the bytes of the tensors that are alive, and those of codes among them, at the cost of one look per result.

NOTE: Why not the profiler's counter
``gact.memory`` keeps a label for every storage and goes through all of them after every operation. A plan runs tens of
steps, so here a storage is added when it appears and a finalizer takes it away. Both count the same bytes.

NOTE: Questions about data
A network may ask whether a mask masks anything before it is used (``mask.all()``). Without data there is no answer; the
one of a batch without padding is given: yes to ``all``, no to any other question of yes or no. A fraction that is read
(a scale, a loss to be printed) is 1; a whole number may be a size, so reading one is an error.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import ops  # noqa: F401 - registers the operators
from ..autograd.internals import FakeTensor, TorchDispatchMode, tree_leaves
from . import recurrent

_ENCODERS = frozenset(
    {
        torch.ops.gact.quantize.default,
        torch.ops.gact.encode_mask.default,
        torch.ops.gact.encode_integers.default,
    }
)
_TO_NUMBER = torch.ops.aten._local_scalar_dense.default
Watch = Callable[[Callable[..., Any], tuple[Any, ...], Any, int], None]


class Tracker(TorchDispatchMode):
    """Follows live bytes while it is active as a context.

    Args:
        tensors: What is alive already.
        watch: Called after every operation with the function, its arguments, its results and the bytes alive.
        elsewhere: Tells of codes that are made now whether they are to lie elsewhere; those count in ``codes``.

    Attributes:
        live: Bytes of tensors alive, each storage once.
        codes: Of those, bytes of codes that could lie elsewhere.
        peak: Highest ``live``.
        peak_without_codes: Highest ``live - codes``: the peak if codes lay elsewhere.
        largest_code: Most bytes that one encoding made.
    """

    def __init__(
        self, tensors: Iterable[Tensor] = (), watch: Watch | None = None, elsewhere: Callable[[], bool] = lambda: True
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.codes = 0
        self.largest_code = 0
        self._known: dict[int, Any] = {}
        self._true: weakref.ref[Tensor] | None = None
        self._watch = watch
        self._elsewhere = elsewhere
        for tensor in tensors:
            self._add(tensor, is_code=False)
        self.peak = self.peak_without_codes = self.live

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, count its results."""
        if func is _TO_NUMBER and isinstance(args[0], FakeTensor):
            if args[0].dtype is torch.bool:
                return self._true is not None and self._true() is args[0]
            if args[0].is_floating_point():
                return 1.0
        results = func(*args, **(kwargs or {}))
        if func is recurrent.LAYER and isinstance(results[0], FakeTensor):
            results = recurrent.with_workspace(results, args)
        is_code = func in _ENCODERS and self._elsewhere()
        before = self.codes
        for leaf in [results] if isinstance(results, Tensor) else tree_leaves(results):
            if isinstance(leaf, Tensor):
                self._add(leaf, is_code)
        if is_code:
            self.largest_code = max(self.largest_code, self.codes - before)
        self.peak = max(self.peak, self.live)
        self.peak_without_codes = max(self.peak_without_codes, self.live - self.codes)
        if func is torch.ops.aten.all.default:
            self._true = weakref.ref(results)
        if self._watch is not None:
            self._watch(func, args, results, self.live)
        return results

    def _add(self, tensor: Tensor, is_code: bool) -> None:
        if tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        # Torch keeps the Python object of a storage as long as the storage itself: it dies when the memory is freed.
        self._known[key] = weakref.ref(storage, partial(self._drop, key, size, is_code))
        self.live += size
        self.codes += size * is_code

    def _drop(self, key: int, size: int, is_code: bool, _: Any) -> None:
        del self._known[key]
        self.live -= size
        self.codes -= size * is_code

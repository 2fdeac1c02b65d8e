"""Follows the bytes of a step without data, and those of codes among them.

NOTE: Questions about data
A network may ask whether a mask masks anything before it is used (``mask.all()``). Without data there is no answer; the
one of a batch without padding is given: yes to ``all``, no to any other question of yes or no. A fraction that is read
(a scale, a loss to be printed) is 1; a whole number may be a size, so reading one is an error.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import ops  # noqa: F401 - registers the operators
from ..autograd.internals import FakeTensor
from ..memory.live import LiveTensors
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


class Tracker(LiveTensors):
    """Follows live bytes while it is active as a context.

    Args:
        tensors: What is alive already.
        watch: Called after every operation with the function, its arguments, its results and the bytes alive.
        elsewhere: Tells of codes that are made now whether they are to lie elsewhere; those count in ``codes``.

    Attributes:
        codes: Of the bytes alive, those of codes that could lie elsewhere.
        peak: Most bytes alive at one time.
        peak_without_codes: The same without ``codes``: the peak if codes lay elsewhere.
        largest_code: Most bytes that one encoding made.
    """

    def __init__(
        self, tensors: Iterable[Tensor] = (), watch: Watch | None = None, elsewhere: Callable[[], bool] = lambda: True
    ) -> None:
        self.codes = 0
        self.largest_code = 0
        self._codes_before = 0
        self._true: weakref.ref[Tensor] | None = None
        self._watch = watch
        self._elsewhere = elsewhere
        super().__init__(tensors)
        self.peak = self.peak_without_codes = self.live_bytes

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operation and counts its results, or answers a question about data."""
        if func is _TO_NUMBER and isinstance(args[0], FakeTensor):
            if args[0].dtype is torch.bool:
                return self._true is not None and self._true() is args[0]
            if args[0].is_floating_point():
                return 1.0
        return super().__torch_dispatch__(func, types, args, kwargs)

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Runs an operation; what a recurrent layer saves without data is that of one with data."""
        results = func(*args, **kwargs)
        if func is recurrent.LAYER and isinstance(results[0], FakeTensor):
            return recurrent.with_workspace(results, args)
        return results

    def label(self, func: Callable[..., Any]) -> bool:
        """Whether results are codes that could lie elsewhere."""
        self._codes_before = self.codes
        return func in _ENCODERS and self._elsewhere()

    def count(self, nbytes: int, label: bool | None) -> None:
        """Notes bytes that are alive, and those of codes among them."""
        super().count(nbytes, label)
        if label:
            self.codes += nbytes

    def after(self, func: Callable[..., Any], args: tuple[Any, ...], results: Any, label: bool) -> None:
        """Takes the peaks, and has the watcher see the operation."""
        if label:
            self.largest_code = max(self.largest_code, self.codes - self._codes_before)
        self.peak = max(self.peak, self.live_bytes)
        self.peak_without_codes = max(self.peak_without_codes, self.live_bytes - self.codes)
        if func is torch.ops.aten.all.default:
            self._true = weakref.ref(results)
        if self._watch is not None:
            self._watch(func, args, results, self.live_bytes)

"""Storages that ops of a forward pass have made without a gradient.

A slice of the data set keeps nothing alive that was not alive anyway; a slice of a mask that forward has made keeps the
whole mask. Both are leaves and views, so it is noted which memory is forward's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..autograd.storages import WeakStorages
from .ledger import Ledger
from .parameters import PLAIN

_MOST = 1 << 14
"""More are none of one forward pass: an evaluation makes them."""


class Made:
    """What the forward pass that runs has made.

    Args:
        last: Gives the figures of the last step. Once a backward pass has read that, another forward begins.
    """

    def __init__(self, last: Callable[[], Ledger]) -> None:
        self._last = last
        self._ended: Ledger | None = None
        self._storages = WeakStorages()
        self._count = 0

    def note(self, result: Any, arguments: Iterable[Any]) -> None:
        """Notes what an op has made.

        Args:
            result: What it gave.
            arguments: What it got.
        """
        if isinstance(result, (tuple, list)):
            for each in result:
                self.note(each, arguments)
        if type(result) not in PLAIN or result.requires_grad:
            return
        address = _address_of(result)
        if address is None or any(_address_of(each) == address for each in arguments):
            return
        last = self._last()
        if self._count >= _MOST or (last.was_read and last is not self._ended):
            self._storages.clear()
            self._ended, self._count = last, 0
        self._storages.add(result.untyped_storage())
        self._count += 1

    def __contains__(self, address: object) -> bool:  # the address of a storage
        return isinstance(address, int) and address in self._storages


def _address_of(value: Any) -> int | None:
    """Address of a tensor's storage; None for all else."""
    try:
        return value.untyped_storage()._cdata if type(value) in PLAIN else None
    except (RuntimeError, NotImplementedError):
        return None  # sparse tensors and wrappers have none

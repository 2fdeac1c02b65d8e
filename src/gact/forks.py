"""Locks that a forked process finds free.

NOTE: Forks beside threads
A process that is forked has one thread, and every lock that another thread held at that moment stays held for ever. So
the locks of this package are made anew in the child. What they guard was perhaps half written, by a thread that is no
more: each of the pieces looks at what it finds, as it does after an interrupt.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_locks: list[weakref.ref[Any]] = []


def new_lock() -> threading.Lock:
    """A lock that is free in every process that is forked."""
    return _noted(threading.Lock())  # type: ignore[no-any-return]


def new_reentrant_lock() -> threading.RLock:
    """A reentrant lock that is free in every process that is forked."""
    return _noted(threading.RLock())  # type: ignore[no-any-return]


def _noted(lock: Any) -> Any:
    if len(_locks) >= 64 and not len(_locks) & (len(_locks) - 1):
        _locks[:] = [each for each in _locks if each() is not None]
    _locks.append(weakref.ref(lock))
    return lock


def _free_all() -> None:
    for reference in _locks:
        lock = reference()
        if lock is not None:
            lock._at_fork_reinit()  # as the standard library does with its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)

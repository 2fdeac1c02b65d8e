"""Ctrl-C in a callback out of which Python lets no error.

NOTE: What Python does not let us do
An error in a ``__del__`` or in the callback of a weak reference is printed and dropped, and ``KeyboardInterrupt`` is
such an error if the signal comes there. Of ours, one that has begun does its work all the same and has the interrupt
raised again afterwards. One that had not begun, since Python looks for signals when a function begins, is not run, and
neither are those of torch (``StorageWeakRef``) and of the standard library (weak dictionaries, ``weakref.finalize``),
which we can do nothing about: that Ctrl-C is printed and has to be pressed again. What we keep weakly is looked up by
what is alive, so nothing but a little memory depends on such a callback. Hooks that torch calls (pack and unpack
hooks, module, tensor and optimizer hooks, function modes) raise as ordinary code does. Threads of ours are never
interrupted: Python raises in the main thread alone.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


def finish(run: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Runs something that may be run twice, as the whole of a callback whose errors Python drops.

    Args:
        run: What is run again if it is interrupted; the interrupt is raised in the main thread a little later.
        *args: Its arguments.
        **kwargs: Its keyword arguments.
    """
    try:
        run(*args, **kwargs)
    except KeyboardInterrupt:
        # By a thread, because this one would raise it before the callback has ended.
        _thread.start_new_thread(_thread.interrupt_main, ())
        run(*args, **kwargs)

"""What of this process the collector knows that a backward pass may touch: tensors, checkpointed blocks, hooks.

A graph does not tell whose hooks hang on it, nor which tensors a function in Python may write to. But whoever wants to
read a tensor holds it in Python, and autograd holds hooks in dictionaries of Python.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..autograd.internals import is_checkpoint
from ..forks import new_lock

_LONG = 1000.0
_alone = new_lock()
Hooks = dict[int, Any]


@dataclass(frozen=True, slots=True)
class Alive:
    """Objects of the process.

    Attributes:
        tensors: All tensors.
        checkpoints: What checkpoints that do not run inside of backward know of their blocks.
        hooks: The hooks of tensors and nodes, those of tensors that are gone too.
    """

    tensors: list[Tensor]
    checkpoints: list[Any]
    hooks: list[Hooks]

    @classmethod
    def now(cls) -> Alive:
        """What there is now."""
        found: dict[str, _Found] = {name: _Found() for name in ("", "tensor", "hooks", "checkpoint")}
        kinds: dict[type, _Found] = {}
        with _without_other_threads():
            for each in gc.get_objects():  # half a million in an ordinary process
                kind = type(each)
                place = kinds.get(kind)
                if place is None:
                    place = kinds[kind] = found[_name_of(kind)]
                if place is not found[""]:
                    place.append(each)
            each = None
            hooks = _Found(filter(_may_be_hooks, found["hooks"]))
            others = _held_by_others(hooks)
        return cls(found["tensor"], found["checkpoint"], _Found(each for each in hooks if id(each) not in others))


class _Found(list[Any]):
    """Objects that were found; that it holds them tells nothing to who looks for those that nobody holds."""


def _name_of(kind: type) -> str:
    if issubclass(kind, Tensor):
        return "tensor"
    if kind is OrderedDict:
        return "hooks"
    return "checkpoint" if is_checkpoint(kind) else ""


def _may_be_hooks(each: Hooks) -> bool:
    return bool(each) and all(type(key) is int and callable(hook) for key, hook in each.items())


def _held_by_others(hooks: _Found) -> set[int]:
    """Those that Python holds otherwise than by a tensor: hooks of modules and optimizers, and what looks like them."""
    held: set[int] = set()
    if hooks:
        for holder in gc.get_referrers(*hooks):
            if not issubclass(type(holder), (Tensor, _Found)):
                held.update(map(id, gc.get_referents(holder)))
    return held


@contextlib.contextmanager
def _without_other_threads() -> Iterator[None]:
    """Has Python switch to no other thread meanwhile.

    The collector knows objects that another thread is about to make. A tuple that somebody refers to before it is
    complete cannot grow any more: the other thread would get a ``SystemError``.
    """
    with _alone:  # another measurement would take the long interval for the usual one
        interval = sys.getswitchinterval()
        sys.setswitchinterval(_LONG)
        try:
            time.sleep(min(2 * interval, 0.1))  # who has asked for his turn gets it
            yield
        finally:
            sys.setswitchinterval(interval)

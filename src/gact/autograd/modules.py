"""Which modules are running: hooks of all modules tell the followers of the same thread.

NOTE: torch.compile
Compiled code is compiled anew when the hooks that modules have are others than before, and a hook registered in every
step would be another one each time. So these are two functions that stay, put in under numbers that stay. Inside of
compiled code they do nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Protocol

import torch
from torch.nn.modules.module import (
    _global_forward_hooks,
    _global_forward_hooks_always_called,
    _global_forward_pre_hooks,
)
from torch.utils.hooks import RemovableHandle

from ..forks import new_lock
from .compiling import never_compiled


class Follower(Protocol):
    """Is told which modules are running."""

    def module_begins(self, module: torch.nn.Module) -> None:
        """The forward of a module begins."""

    def module_ends(self, module: torch.nn.Module) -> None:
        """The forward of a module has ended, if only by an error."""


def follow(follower: Follower) -> None:
    """Tells a follower of the modules that begin and end on this thread from now on."""
    never_compiled(_begins, _ends)
    _hooks.open(follower)
    _here.followers.append(follower)


def unfollow(follower: Follower) -> None:
    """Ends what ``follow`` began; does nothing if it was not called."""
    if follower in _here.followers:
        _here.followers.remove(follower)
    _hooks.close(follower)


class _Here(threading.local):
    """The followers of this thread."""

    def __init__(self) -> None:
        self.followers: list[Follower] = []


_here = _Here()


def _begins(module: torch.nn.Module, _inputs: Any) -> None:
    if not torch.compiler.is_compiling():
        for follower in _here.followers:
            follower.module_begins(module)


def _ends(module: torch.nn.Module, _inputs: Any, _outputs: Any) -> None:
    if not torch.compiler.is_compiling():
        for follower in _here.followers:
            follower.module_ends(module)


class _Hooks:
    """The two hooks, which are registered while there is a follower on any thread."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._followers: set[Follower] = set()
        before, after = (RemovableHandle(OrderedDict()).id for _ in range(2))  # numbers of ours alone
        self._places: tuple[tuple[dict[int, Any], int, Any], ...] = (
            (_global_forward_pre_hooks, before, _begins),
            (_global_forward_hooks_always_called, after, True),
            (_global_forward_hooks, after, _ends),
        )

    def open(self, follower: Follower) -> None:
        """Puts the hooks in for the first who follows."""
        with self._lock:
            self._followers.add(follower)
            for hooks, number, value in self._places:
                hooks[number] = value

    def close(self, follower: Follower) -> None:
        """Takes them out after the last."""
        with self._lock:
            self._followers.discard(follower)
            if not self._followers:
                for hooks, number, _ in self._places:
                    hooks.pop(number, None)


_hooks = _Hooks()

"""Which modules are running: told by hooks of all modules to those who follow on the same thread.

NOTE: torch.compile
Compiled code is compiled anew when the hooks that modules have are others than before, and a hook registered in every
step would be another one each time. So these are two functions that stay, put in under the number they were given
first. Inside of compiled code they do nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from .compiling import never_compiled


class Follower(Protocol):
    """Somebody who wants to know which modules are running."""

    def module_begins(self, module: torch.nn.Module) -> None:
        """The forward of a module begins."""

    def module_ends(self, module: torch.nn.Module) -> None:
        """The forward of a module has ended, if only by an error."""


def follow(follower: Follower) -> None:
    """Tells somebody of the modules that begin and end on this thread from now on."""
    _here.followers.append(follower)
    never_compiled(_begins, _ends)
    _hooks.open()


def unfollow(follower: Follower) -> None:
    """Tells him no more."""
    _here.followers.remove(follower)
    _hooks.close()


class _Here(threading.local):
    """Who follows on this thread."""

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
    """The two hooks, which are there while anybody follows on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._handles: list[tuple[RemovableHandle, Callable[..., None]]] = []

    def open(self) -> None:
        """Puts the hooks in for the first who follows."""
        with self._lock:
            self._open += 1
            if self._open > 1:
                return
            if not self._handles:
                self._handles = [
                    (register_module_forward_pre_hook(_begins), _begins),
                    (register_module_forward_hook(_ends, always_call=True), _ends),
                ]
                return
            for handle, hook in self._handles:
                _put(handle.hooks_dict_ref, handle.id, hook)
                for extra in handle.extra_dict_ref:
                    _put(extra, handle.id, True)

    def close(self) -> None:
        """Takes them out after the last."""
        with self._lock:
            self._open -= 1
            if not self._open:
                for handle, _ in self._handles:
                    handle.remove()


def _put(place: Callable[[], dict[int, Any] | None], number: int, value: Any) -> None:
    hooks = place()
    if hooks is not None:
        hooks[number] = value


_hooks = _Hooks()

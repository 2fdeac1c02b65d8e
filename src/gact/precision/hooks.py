"""Hooks of users in backward passes of our own: only those run that are known to have no effect, or that ask.

NOTE: Why not all
A hook may change the gradient, which then belongs to what is measured; but it may as well count, log, send or collect
statistics, and does so once in a plain step. What it does to the widths is less than what it may do to a training.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from ..autograd.internals import variables_of
from .alive import Hooks
from .probe import is_measuring
from .repeatable import hook_may_repeat

_OF_MODULES = "torch.utils.hooks"
"""Whose functions call the hooks of modules, which they hold in two lists."""
_LISTS = ("user_hooks", "user_pre_hooks")


class _Once:
    """A hook that rests while a measurement runs.

    Args:
        hook: The hook.
    """

    def __init__(self, hook: Any) -> None:
        self.hook = hook

    def __call__(self, *args: Any) -> Any:
        return None if is_measuring() else self.hook(*args)


@contextlib.contextmanager
def resting(hooks: Iterable[Hooks]) -> Iterator[None]:
    """Has hooks that may have an effect rest in passes of ours; those of other threads' passes are called.

    Args:
        hooks: Those of tensors and nodes, as autograd holds them.
    """
    replaced: list[tuple[Any, Any, _Once]] = []
    try:
        for each in hooks:
            for holder, key, hook in _places(each):
                if not isinstance(hook, _Once) and not hook_may_repeat(hook):
                    holder[key] = once = _Once(hook)
                    replaced.append((holder, key, once))
        yield
    finally:
        for holder, key, once in replaced:
            with contextlib.suppress(KeyError, IndexError):  # it was removed meanwhile
                if holder[key] is once:
                    holder[key] = once.hook


def _places(hooks: Hooks) -> Iterator[tuple[Any, Any, Any]]:
    """Each hook of a user, with what holds it and where."""
    for key, hook in list(hooks.items()):
        caller = variables_of(hook).get("self") if getattr(hook, "__module__", None) == _OF_MODULES else None
        lists = [each for each in (getattr(caller, name, None) for name in _LISTS) if isinstance(each, list)]
        for each in lists:
            yield from ((each, place, one) for place, one in enumerate(list(each)))
        if not lists:
            yield hooks, key, hook

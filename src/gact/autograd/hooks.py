"""Our place among autograd's saved-tensor hooks: of several active pairs, autograd calls only the innermost.

NOTE: torch.func
``torch.func`` transforms refuse to run while saved-tensor hooks are active: they enter
``disable_saved_tensors_hooks``, which raises. While one of our pairs is active that function is replaced by one that
takes our pair off the stack first and puts it back afterwards, so that a transform inside a context works as it does
outside; nothing is compressed there, and the compressor says so once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch.autograd.graph import disable_saved_tensors_hooks

from ..forks import new_lock
from . import pair as pairs
from .compiling import never_compiled
from .internals import hooks_refusal, pop_hooks, push_hooks, top_hooks

Pair = tuple[Callable[..., Any], Callable[..., Any]]

_CHECKPOINT = "torch.utils.checkpoint"


def top_pair() -> Pair | None:
    """The pair that autograd would call now, or None."""
    pair: Pair | None = top_hooks(True)
    return pair


def name_of(pair: Pair) -> str:
    """Where a pair of hooks comes from."""
    pack = pair[0]
    named = pack if hasattr(pack, "__qualname__") else type(pack)
    return f"{named.__module__}.{named.__qualname__}"


def transform_is_active() -> bool:
    """Whether a ``torch.func`` transform has switched saved-tensor hooks off."""
    return hooks_refusal() is not None


class Hooks:
    """The hook pair of a compressor, on one thread.

    Args:
        pack: Called with every tensor that autograd saves.
        unpack: Called with what ``pack`` returned.
        stands_aside: Called when a ``torch.func`` transform begins inside.
        constant: The pair of the process that calls ``pack`` and stands on the stack; without one, these two do.
    """

    def __init__(
        self,
        pack: Callable[[Any], Any],
        unpack: Callable[[Any], Any],
        stands_aside: Callable[[], None],
        constant: Pair | None = None,
    ) -> None:
        self._pack = pack
        self._pair = constant or (pack, unpack)
        never_compiled(*(getattr(hook, "__func__", hook) for hook in (pack, unpack)))
        self._stands_aside = stands_aside

    def push(self) -> None:
        """Makes the pair the innermost.

        Raises:
            RuntimeError: If another pair is active, which would silently do nothing from now on.
        """
        outer = top_pair()
        if outer is not None:
            raise RuntimeError(
                f"gact.Compressor was entered while other saved-tensor hooks are active ({name_of(outer)}). Autograd "
                "calls only the innermost pair, so the outer hooks would do nothing. Leave their context first, or "
                "enter gact outside of it."
            )
        _OPEN.add(self)
        pairs.serve(self._pack)
        push_hooks(*self._pair)

    def pop(self) -> None:
        """Takes the pair off again, wherever it is on the stack, if it is there; pairs of others stay."""
        if not _OPEN.holds(self):
            return
        inner: list[Pair] = []
        try:
            while (pair := top_pair()) is not None:
                if pair[0] is not self._pair[0]:
                    inner.append(pair)
                pop_hooks()
        finally:
            for pair in reversed(inner):
                push_hooks(*pair)
        pairs.serve(None)
        _OPEN.discard(self)

    def in_charge(self) -> bool:
        """Whether autograd would call this pair now."""
        pair = top_hooks(True)
        return pair is not None and pair[0] is self._pair[0]

    def foreign(self) -> str:
        """Name of the inner pair that has pushed ours aside, "" if there is none or checkpointing took over."""
        pair = top_pair()
        if pair is None or pair[0] is self._pair[0] or getattr(pair[0], "__module__", "") == _CHECKPOINT:
            return ""
        return name_of(pair)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Takes the pair off the stack for a while."""
        self._stands_aside()
        try:
            pop_hooks()
            yield
        finally:
            try:
                self._put_back()
            except BaseException:
                self._put_back()
                raise

    def _put_back(self) -> None:
        if _OPEN.holds(self) and not self.in_charge():  # an interrupt may have come before the pair was off
            push_hooks(*self._pair)


class _Open(threading.local):
    """Our active pairs on this thread, and the replacement of torch's switch while any thread has one."""

    _lock = new_lock()
    _anywhere: ClassVar[set[Hooks]] = set()

    def __init__(self) -> None:
        self._hooks: set[Hooks] = set()

    def holds(self, hooks: Hooks) -> bool:
        return hooks in self._hooks

    def add(self, hooks: Hooks) -> None:
        self._hooks.add(hooks)
        with self._lock:
            self._anywhere.add(hooks)
            torch.autograd.graph.disable_saved_tensors_hooks = _disable_beside_ours

    def discard(self, hooks: Hooks) -> None:
        with self._lock:
            self._anywhere.discard(hooks)
            if not self._anywhere:
                torch.autograd.graph.disable_saved_tensors_hooks = disable_saved_tensors_hooks
        self._hooks.discard(hooks)

    def innermost(self) -> Hooks | None:
        pair = top_pair()
        for hooks in self._hooks:
            if pair is not None and hooks._pair[0] == pair[0]:
                return hooks
        return None


_OPEN = _Open()


@contextlib.contextmanager
def _disable_beside_ours(error_message: str) -> Iterator[None]:
    """What stands in for torch's ``disable_saved_tensors_hooks`` while a pair of ours is active anywhere."""
    ours = _OPEN.innermost()
    with ours.aside() if ours is not None else contextlib.nullcontext(), disable_saved_tensors_hooks(error_message):
        yield

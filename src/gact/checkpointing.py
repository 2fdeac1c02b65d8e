"""Runs blocks of a network under ``torch.utils.checkpoint`` for a while, without changing the model for good.

NOTE: How
While a context is open, each block has a ``forward`` of its own that runs the real one under checkpoint on the threads
that opened a context, and plainly on others and where no gradient is wanted. Module hooks run outside of the
checkpoint, once. Keyword arguments that are tensors are handed over by position, because checkpoint would hold others
out of the sight of saved-tensor hooks.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .blocks import find_blocks

Contexts = tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]
ContextsOf = Callable[[nn.Module], Contexts]


class _Depth(threading.local):
    """How often this thread has opened the context."""

    value = 0


class Checkpointing:
    """A context in which blocks keep only their inputs and run again in backward.

    Gradients equal those of the plain network bit for bit, dropout included, as long as its inputs are kept exactly.

    Args:
        model: The network.
        names: Patterns of module paths; None for the repeated blocks that ``find_blocks`` finds.
        contexts: Makes the contexts in which a block runs first and again; None for none.

    Raises:
        ValueError: If no block is found.
    """

    def __init__(
        self, model: nn.Module, names: Iterable[str] | None = None, contexts: ContextsOf | None = None
    ) -> None:
        self._contexts = contexts
        self.blocks = find_blocks(model, names)
        self._depth = _Depth()
        self._lock = threading.Lock()
        self._open = 0
        self._swapped: list[tuple[nn.Module, _Forward, Any]] = []

    def __enter__(self) -> Checkpointing:
        """Has the blocks run under checkpoint on this thread."""
        with self._lock:
            if not self._open:
                self._swap()
            self._open += 1
        self._depth.value += 1
        return self

    def __exit__(self, *exception: Any) -> None:
        """Leaves the blocks as they were."""
        self._depth.value -= 1
        with self._lock:
            self._open -= 1
            if not self._open:
                self._restore()

    def _swap(self) -> None:
        for module in self.blocks.values():
            own = module.__dict__.get("forward", self)
            contexts = None if self._contexts is None else partial(self._contexts, module)
            forward = _Forward(module.forward, self._depth, contexts)
            module.forward = forward
            self._swapped.append((module, forward, own))

    def _restore(self) -> None:
        for module, forward, own in self._swapped:
            if module.__dict__.get("forward") is not forward:
                continue  # somebody else has put another in its place meanwhile
            if own is self:
                del module.__dict__["forward"]
            else:
                module.forward = own
        self._swapped.clear()


class _Forward:
    """A block's forward under checkpoint.

    Args:
        function: The real forward.
        depth: Tells whether this thread has an open context.
        contexts: Makes the contexts of both runs; None for none.
    """

    def __init__(self, function: Callable[..., Any], depth: _Depth, contexts: Callable[[], Contexts] | None) -> None:
        self._function = function
        self._depth = depth
        self._options: dict[str, Any] = {} if contexts is None else {"context_fn": contexts}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._depth.value or not torch.is_grad_enabled():
            return self._function(*args, **kwargs)
        names = [name for name, value in kwargs.items() if isinstance(value, Tensor)]
        others = {name: value for name, value in kwargs.items() if name not in names}
        count = len(args)
        function = self._function

        def run(*values: Any) -> Any:
            return function(*values[:count], **dict(zip(names, values[count:], strict=True)), **others)

        return checkpoint(run, *args, *(kwargs[name] for name in names), use_reentrant=False, **self._options)


def checkpointing(
    model: nn.Module | None, choice: bool | tuple[str, ...], contexts: ContextsOf | None = None
) -> contextlib.AbstractContextManager[Any]:
    """The context for a compressor's setting; one that does nothing if that is False.

    Args:
        model: The network.
        choice: Which blocks: none, the repeated ones, or those of these names.
        contexts: As of ``Checkpointing``.

    Raises:
        ValueError: If there is no model, or no block is found.
    """
    if choice is False:
        return contextlib.nullcontext()
    if model is None:
        raise ValueError("checkpoint needs the model, whose blocks it runs. Pass Compressor(model, checkpoint=...).")
    return Checkpointing(model, None if choice is True else choice, contexts)

"""Runs blocks of a network under ``torch.utils.checkpoint`` for a while, without changing the model for good.

NOTE: How
While a context is open, each block has a ``forward`` of its own that runs the real one under checkpoint on the threads
that opened a context, and plainly on others and where no gradient is wanted. Module hooks run outside of the
checkpoint, once. Tensors in keyword arguments and in lists, tuples and dicts are handed over by position, because
checkpoint would hold others out of the sight of saved-tensor hooks. Copies of a block (``copy``, ``pickle``,
``AveragedModel``) are made without it: a block whose forward is ours also has a ``__getstate__`` of its own, which
gives what the block would give otherwise.
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

from ..autograd.internals import tree_flatten, tree_unflatten
from ..autograd.opening import Opened, gravest
from ..forks import new_lock
from .blocks import find_blocks

Contexts = tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]
ContextsOf = Callable[[nn.Module], Contexts]

_FORWARD = "forward"
_STATE = "__getstate__"
_NOTHING = object()


class _Here(threading.local):
    """The entries of this thread that are open."""

    def __init__(self) -> None:
        self.entries: list[object] = []


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
        self._here = _Here()
        self._lock = new_lock()
        self._entries: set[object] = set()
        self._swapped = Opened()

    def __enter__(self) -> Checkpointing:
        """Has the blocks run under checkpoint on this thread."""
        entry = object()
        try:
            self.open(entry)
            return self
        except BaseException:
            self.close(entry)
            raise

    def __exit__(self, *exception: Any) -> None:
        """Leaves the blocks as they were."""
        entry = self._here.entries[-1]
        try:
            self.close(entry)
        except BaseException:  # an interrupt: what is closed already stays closed
            self.close(entry)
            raise

    def open(self, entry: object) -> None:
        """Has the blocks run under checkpoint on this thread until ``close``.

        Args:
            entry: Tells this from other times.
        """
        self._here.entries.append(entry)
        with self._lock:
            first = not self._entries
            self._entries.add(entry)
            if first:
                self._swap()

    def close(self, entry: object) -> None:
        """Leaves the blocks as they were, if nobody else has them open; does nothing if this was not opened."""
        if entry in self._here.entries:
            self._here.entries.remove(entry)
        with self._lock:
            self._entries.discard(entry)
            errors = [] if self._entries else self._swapped.close()
        if errors:
            raise gravest(errors)

    def _swap(self) -> None:
        for module in self.blocks.values():
            contexts = None if self._contexts is None else partial(self._contexts, module)
            forward = _Forward(module, self._here, contexts)
            self._swapped.add(forward.put_back)
            forward.put_in()


class _Forward:
    """A block's forward under checkpoint.

    Args:
        module: The block.
        here: Tells whether this thread has an open context.
        contexts: Makes the contexts of both runs; None for none.
    """

    def __init__(self, module: nn.Module, here: _Here, contexts: Callable[[], Contexts] | None) -> None:
        self._module = module
        self._own = module.__dict__.get(_FORWARD, _NOTHING)
        self._function: Callable[..., Any] = module.forward
        self._here = here
        self._options: dict[str, Any] = {} if contexts is None else {"context_fn": contexts}

    def put_in(self) -> None:
        """Gives the block this forward, past what its class does when attributes are set."""
        self._module.__dict__[_STATE] = partial(_real_state, self._module)
        self._module.__dict__[_FORWARD] = self

    def put_back(self) -> None:
        """Gives the block what it had, unless somebody has put another in its place meanwhile."""
        place = self._module.__dict__
        outer = place.get(_FORWARD)
        if outer is self:
            _set_or_leave_out(place, self._own)
        while isinstance(outer, _Forward):  # another context that was opened later and is still open
            if outer._own is self:
                outer._own = self._own
            outer = outer._own
        if not isinstance(place.get(_FORWARD), _Forward):
            place.pop(_STATE, None)

    def leave_out(self, state: dict[str, Any]) -> None:
        """Puts the real forward in the place of ours, in what a copy of the block is made of."""
        real: Any = self
        while isinstance(real, _Forward):
            real = real._own
        _set_or_leave_out(state, real)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy that is made otherwise than by ``__getstate__`` has the real forward, too."""
        return (getattr, (self._module, _FORWARD)) if self._own is _NOTHING else (_itself, (self._own,))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._here.entries or not torch.is_grad_enabled():
            return self._function(*args, **kwargs)
        values, run = _by_position(self._function, args, kwargs)
        return checkpoint(run, *values, use_reentrant=False, **self._options)


def _by_position(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Tensor], Callable[..., Any]]:
    """The tensors among the arguments of a function, however deep in containers, and the function of those tensors.

    The first call gets the arguments themselves, so that what the function changes in a container is seen outside;
    later ones get containers like those that the first was given.
    """
    leaves, structure = tree_flatten((args, kwargs))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    values = [leaves[place] for place in places]
    for place in places:
        leaves[place] = None
    first = [(args, kwargs)]

    def run(*tensors: Tensor) -> Any:
        if first:
            own, named = first.pop()
            return function(*own, **named)
        again = [*leaves]
        for place, tensor in zip(places, tensors, strict=True):
            again[place] = tensor
        own, named = tree_unflatten(again, structure)
        return function(*own, **named)

    return values, run


def _real_state(module: nn.Module) -> Any:
    """What ``copy`` and ``pickle`` make a block from while it has our forward: what they do without it."""
    state = type(module).__getstate__(module)
    if isinstance(state, dict):
        state = {name: value for name, value in state.items() if name != _STATE}
        forward = state.get(_FORWARD)
        if isinstance(forward, _Forward):
            forward.leave_out(state)
    return state


def _set_or_leave_out(place: dict[str, Any], forward: Any) -> None:
    if forward is _NOTHING:
        del place[_FORWARD]
    else:
        place[_FORWARD] = forward


def _itself(own: Any) -> Any:
    return own


def checkpointing(
    model: nn.Module | None, choice: bool | tuple[str, ...], contexts: ContextsOf | None = None
) -> Checkpointing | None:
    """The context for a compressor's setting, if that asks for one.

    Args:
        model: The network.
        choice: Which blocks: none, the repeated ones, or those of these names.
        contexts: As of ``Checkpointing``.

    Raises:
        ValueError: If there is no model, or no block is found.
    """
    if choice is False:
        return None
    if model is None:
        raise ValueError("checkpoint needs the model, whose blocks it runs. Pass Compressor(model, checkpoint=...).")
    return Checkpointing(model, None if choice is True else choice, contexts)

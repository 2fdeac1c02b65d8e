"""Custom Functions in backward passes of our own: whatever their backward does besides returning gradients is undone.

NOTE: What cannot be known
The backward of a Function is Python of somebody's. It may add to ``grad`` by a backward pass of its own (reversible
blocks), add to an attribute of a weight (fused accumulation), write into what was saved (fused losses), free its
``ctx``, count, or talk to other processes. In a plain step that happens once.

NOTE: What is done
1. What a backward does to attributes of its own ``ctx``, and to containers, variables and buffers that are reached
   from there and from its code (``reach``), is put back after each run: it stays measured.
2. What would change a tensor that was there before, by an op of torch or by a backward pass of its own, and what
   talks to other processes, is stopped before it happens, and the measurement with it. One that holds an iterator or
   a file is not run.
3. What a kernel of its own has changed past torch, in tensors that ``ctx`` holds, is found by their values, put back,
   and ends the measurement too. So does a ``grad`` that was set.

Functions of torch are let run as they are, and so are those of ``register_repeatable``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from ..autograd.internals import (
    DisableTorchFunction,
    OpOverload,
    TorchDispatchMode,
    backward_engine,
    set_backward_engine,
    tree_leaves,
)
from ..autograd.nodes import saves_of
from ..saved.save import Save
from .graph import Roots, leaves_of
from .reach import Reach, Values, can_restore
from .refusal import RefusedError
from .repeatable import function_may_repeat

_TALKS = {"c10d", "_c10d_functional", "c10d_functional", "_dtensor"}
_CALLS = ("apply", "apply_boxed")
"""What autograd calls of a node, by its name, as an attribute of the object."""


def foreign_in(nodes: Iterable[Node]) -> list[Any]:
    """The nodes of custom Functions of which it is not known what their backward does."""
    return [
        node
        for node in nodes
        if isinstance(node, BackwardCFunction) and not function_may_repeat(node._forward_cls, node.name())  # type: ignore[attr-defined]
    ]


@contextlib.contextmanager
def watched(nodes: Sequence[Any], tensors: Iterable[Tensor]) -> Iterator[None]:
    """Has the backward of custom Functions leave everything as it was, or stop with a ``RefusedError``.

    Args:
        nodes: What ``foreign_in`` found.
        tensors: All tensors of the process.
    """
    if not nodes:
        yield
        return
    before = _Before(tensors)
    replaced = [(node, name) for node in nodes for name in _CALLS if hasattr(type(node), name)]
    plain = backward_engine()
    ours = before.engine(plain)
    set_backward_engine(ours)
    try:
        for node, name in replaced:
            setattr(node, name, _Run(node, name, before))
        yield
    finally:
        for node, name in replaced:
            vars(node).pop(name, None)
        if backward_engine() is ours:
            set_backward_engine(plain)


class _Before:
    """The tensors that there were when a measurement began, and what is running on each thread.

    Args:
        tensors: The tensors; held, so that their memory is nobody else's meanwhile.

    Attributes:
        known: The ``id`` of each.
        running: What watches over the node that runs on this thread.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._held = list(tensors)
        self._leaves = [(each, each.grad) for each in self._held if _is_leaf(each)]
        self._storages = {_storage(each) for each in self._held}
        self._storages |= {_storage(each) for _, each in self._leaves if each is not None}
        self._storages.discard(None)
        self.known = {id(each) for each in self._held}
        self.running = threading.local()

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor shares memory with one that was there."""
        return _storage(tensor) in self._storages

    def put_back_gradients(self) -> bool:
        """Has all leaves have the gradients they had; whether one had another."""
        changed = [(leaf, gradient) for leaf, gradient in self._leaves if leaf.grad is not gradient]
        for leaf, gradient in changed:
            leaf.grad = gradient
        return bool(changed)

    def engine(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for the function in which backward passes begin."""

        def run(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            barrier: _Barrier | None = getattr(self.running, "barrier", None)
            if barrier is not None and kwargs.get("accumulate_grad"):
                inputs = args[3] if len(args) > 3 else ()
                ends = inputs or [leaf.tensor for leaf in leaves_of(Roots(tuple(outputs), ()))]
                if any(isinstance(each, Tensor) and id(each) in self.known for each in ends):
                    barrier.refuse("runs a backward pass of its own, which adds to grad")
            return plain(outputs, *args, **kwargs)

        return run


class _Run:
    """Stands in for the backward of one node while a measurement runs.

    Args:
        node: The node.
        name: How autograd calls it.
        before: What there was before.
    """

    def __init__(self, node: Any, name: str, before: _Before) -> None:
        self._node, self._name, self._before = node, name, before

    def __call__(self, *gradients: Any) -> Any:
        node, before = self._node, self._before
        function = node._forward_cls
        with DisableTorchFunction():
            attributes = vars(node)
            reach = Reach([attributes, *attributes.values()])
            reach.note_class(function)
            near = _near(node, reach)
            values = [Values(each) for each in near if can_restore(each)]
        outer = getattr(before.running, "barrier", None)
        near_storages = {_storage(each) for each in near}
        free = {_storage(each) for each in reach.buffers if _is_whole(each)} - near_storages
        before.running.barrier = barrier = _Barrier(before, function.__qualname__, near_storages - {None}, free)
        try:
            if reach.used_up:
                barrier.refuse(f"may read of a {type(reach.used_up[0]).__name__}")
            with barrier:
                result = getattr(type(node), self._name)(node, *gradients)
        finally:
            before.running.barrier = outer
            with DisableTorchFunction():
                reach.put_back()
                changed = [value.put_back() for value in values]
                changed.append(before.put_back_gradients())
            if barrier.refused:  # also where the backward has made another error of it
                raise RefusedError(barrier.refused) from None
        if any(changed):
            barrier.refuse("changes tensors that were there before")
        return result


class _Barrier(TorchDispatchMode):
    """Lets no op write to a tensor that was there before, nor talk to other processes.

    Args:
        before: What there was.
        name: Name of the Function.
        near: The memory of the tensors that the Function holds.
        free: The memory of those that will be put back whatever happens to them.

    Attributes:
        refused: Why an op was not run; empty if none was.
    """

    supports_higher_order_operators = True

    def __init__(self, before: _Before, name: str, near: set[int | None], free: set[int | None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.refused = ""
        self._before, self._name = before, name
        self._near, self._free = near, free

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor shares memory with one that was there and will not be put back."""
        storage = _storage(tensor)
        return storage not in self._free and (storage in self._near or self._before.holds(tensor))

    def refuse(self, why: str) -> None:
        """Ends the measurement."""
        self.refused = (
            f"the backward of {self._name} {why}, which has to happen once in a step. "
            f"gact.register_repeatable({self._name}) is for one that may do it several times."
        )
        raise RefusedError(self.refused)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, OpOverload):
            if func.namespace in _TALKS:
                self.refuse(f"talks to other processes ({func.name()})")
            for place, argument in enumerate(func._schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    given = args[place] if place < len(args) else kwargs.get(argument.name)
                    if any(isinstance(each, Tensor) and self.holds(each) for each in tree_leaves(given)):
                        self.refuse(f"writes to a tensor that was there before ({func.name()})")
        return func(*args, **kwargs)


def _near(node: Any, reach: Reach) -> list[Tensor]:
    """The tensors that a node holds, by its attributes or as saved, and the gradients that they have."""
    saved = [held.result if isinstance(held, Save) and held.result is not None else held for held in saves_of(node)]
    saved = [getattr(held, "tensor", held) for held in saved]
    found = [*reach.tensors, *(each for each in saved if isinstance(each, Tensor))]
    found += [each.grad for each in found if _is_leaf(each) and each.grad is not None]
    return list({id(each): each for each in found}.values())


def _is_whole(tensor: Tensor) -> bool:
    """Whether a tensor is all that is in its memory."""
    return tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def _is_leaf(tensor: Tensor) -> bool:
    try:
        return tensor.requires_grad and tensor.is_leaf
    except RuntimeError:  # what a transform has wrapped and left
        return False


def _storage(tensor: Tensor) -> int | None:
    """The memory of a tensor, as a number; None for what has none."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError, AttributeError):  # sparse ones, and classes of others
        return None

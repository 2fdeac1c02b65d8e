"""What backward passes of our own must leave as it was."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from ..autograd.internals import DisableTorchFunction, arguments_of_checkpoint
from ..autograd.nodes import unpackers_of
from ..saved.kept import Copied, Kept
from ..saved.save import Save
from .alive import Alive
from .functions import foreign_in, watched
from .graph import Roots, nodes_of
from .hooks import resting
from .reach import Reach


@contextlib.contextmanager
def preserved_state(model: nn.Module | None, roots: Roots) -> Iterator[Callable[[], None]]:
    """Restores random states, buffers, retained gradients and whatever else Python may change in backward, at the end.

    Backward draws nothing by itself, but it may run parts of forward again (checkpointing), which draw and count, and
    it calls hooks and custom Functions.

    Args:
        model: Its buffers and devices are watched.
        roots: Where the passes begin.

    Yields:
        What restores random states, buffers and all that runs of forward have changed; called after each pass, it has
        the next one see the same.
    """
    devices = {torch.device("cpu")} if model is None else {each.device for each in model.parameters()}
    devices |= {root.device for root in roots.of if isinstance(root, Tensor)}
    random_states = _Random(each for each in devices if each.type == "cuda")
    nodes = nodes_of(roots)
    reach = Reach(_unpackers(nodes))
    reach.note_buffers(() if model is None else model.modules())
    changed: list[Reach] = []

    def put_back() -> None:
        random_states.put_back()
        while changed:
            changed.pop().put_back_values()
        reach.put_back()

    alive = Alive.now()
    with _retained_gradients(alive.tensors), resting(alive.hooks), _running_again(alive.checkpoints, changed):
        try:
            with watched(foreign_in(nodes), alive.tensors):
                del alive, nodes
                yield put_back
        finally:
            put_back()


class _Random:
    """The states of the generators of torch, Python and numpy, as they are now.

    Args:
        devices: CUDA devices.
    """

    def __init__(self, devices: Iterable[torch.device]) -> None:
        self._numbers = sys.modules.get("numpy.random")  # numpy loads it when it is first used, under a lock
        self._numpy = None if self._numbers is None else self._numbers.get_state()
        self._python = random.getstate()
        self._torch = torch.get_rng_state()
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in devices}

    def put_back(self) -> None:
        """Has the generators go on from there."""
        random.setstate(self._python)
        if self._numbers is not None:
            self._numbers.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)


def _unpackers(nodes: Iterable[Node]) -> Iterator[object]:
    """The unpack hooks of others, which are called in each pass, and what they are given."""
    for node in nodes:
        for hook, packed in unpackers_of(node):
            if not isinstance(packed, (Save, Kept, Copied)):
                yield from (hook, packed)


@contextlib.contextmanager
def _running_again(checkpoints: Iterable[Any], changed: list[Reach]) -> Iterator[None]:
    """Has what checkpointed blocks change when they run again be put back.

    Args:
        checkpoints: What checkpoints know of their blocks.
        changed: Where it is noted what has yet to be put back at the end of a pass: what a block saves may share
            memory with its buffers.
    """
    plain = [(each, each.recompute_fn) for each in checkpoints]
    for each, run in plain:
        each.recompute_fn = _Again(each, run, changed)
    try:
        yield
    finally:
        for each, run in plain:
            each.recompute_fn = run


class _Again:
    """The second run of a block, after which all but the values of buffers is as before.

    Args:
        block: What its checkpoint knows of it.
        run: What the checkpoint does.
        changed: Gets what it has changed.
    """

    def __init__(self, block: Any, run: Callable[..., None], changed: list[Reach]) -> None:
        function, others = arguments_of_checkpoint(block)
        self._roots = [function, [other for other in others if not isinstance(other, Tensor)]]
        self._run, self._changed = run, changed

    def __call__(self, *args: Any) -> None:
        with DisableTorchFunction():
            reach = Reach(self._roots)
        self._changed.append(reach)
        try:
            self._run(*args)
        finally:
            reach.put_back_objects()


@contextlib.contextmanager
def _retained_gradients(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Restores what ``retain_grad`` has tensors inside the graph collect, which every backward pass adds to.

    A graph does not tell which tensors those are, but whoever wants to read their ``grad`` holds them in Python.
    """
    retained = [(each, each.grad) for each in tensors if each.retains_grad]
    for each, _ in retained:
        each.grad = None
    try:
        yield
    finally:
        for each, gradient in retained:
            each.grad = gradient

"""What backward passes of our own must leave as it was."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from ..autograd.internals import set_version
from ..forks import new_lock

_LONG = 1000.0
_alone = new_lock()


@contextlib.contextmanager
def preserved_state(model: torch.nn.Module | None, device: torch.device) -> Iterator[None]:
    """Restores random states, buffers and retained gradients at the end.

    Backward draws nothing by itself, but it may run parts of forward again (checkpointing), which draw and count.

    Args:
        model: Its buffers and devices are watched.
        device: A device that is watched besides.
    """
    devices = {device} if model is None else {device, *(each.device for each in model.parameters())}
    cuda = [each for each in devices if each.type == "cuda"]
    with _python_random(), _buffers(model), _retained_gradients(), torch.random.fork_rng(devices=cuda):
        yield


@contextlib.contextmanager
def _python_random() -> Iterator[None]:
    state = random.getstate()
    numbers = sys.modules.get("numpy.random")  # numpy loads it when it is first used, under a lock
    numpy_state = numbers.get_state() if numbers is not None else None
    try:
        yield
    finally:
        random.setstate(state)
        if numbers is not None:
            numbers.set_state(numpy_state)


@contextlib.contextmanager
def _buffers(model: torch.nn.Module | None) -> Iterator[None]:
    """Restores the values of buffers, and their versions, by which autograd tells that a saved tensor was changed."""
    # Batch normalisation updates its statistics without a new version, so only values tell.
    buffers = [] if model is None else [(each, each._version, each.detach().clone()) for each in model.buffers()]
    try:
        yield
    finally:
        for buffer, version, value in buffers:
            buffer.detach().copy_(value)
            set_version((buffer,), (version,))


@contextlib.contextmanager
def _retained_gradients() -> Iterator[None]:
    """Restores what ``retain_grad`` has tensors inside the graph collect, which every backward pass adds to.

    A graph does not tell which tensors those are, but whoever wants to read their ``grad`` holds them in Python.
    """
    with _without_other_threads():
        found = [each for each in gc.get_objects() if issubclass(type(each), Tensor) and each.retains_grad]
    retained = [(each, each.grad) for each in found]
    for each in found:
        each.grad = None
    try:
        yield
    finally:
        for each, gradient in retained:
            each.grad = gradient


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

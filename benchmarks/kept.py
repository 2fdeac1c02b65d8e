"""Counts the bytes that are held for backward."""

from __future__ import annotations

import gc
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from .networks import Built


def plain_bytes(built: Built) -> int:
    """Bytes that plain autograd keeps, each storage once, without those of parameters and buffers.

    Autograd keeps its tensors out of Python's sight, so they are counted as they are saved.
    """
    own = _addresses((*built.model.parameters(), *built.model.buffers()))
    sizes: dict[int, int] = {}
    alive = []

    def see(tensor: Tensor) -> Tensor:
        alive.append(tensor)  # else an address could be given out twice
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(see, lambda tensor: tensor):
        built.loss()
    return sum(sizes.values())


class Reachable:
    """Bytes of the tensors that Python can reach now and could not when this was made.

    What hooks have packed is among them, and so is everything a compressor keeps from step to step.

    Args:
        model: Its gradients are left out too.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._before = _reachable()

    def nbytes(self) -> int:
        """Bytes of new storages, each once."""
        gradients = _addresses(p.grad for p in self._model.parameters() if p.grad is not None)
        now = _reachable()
        fresh = {address: size for address, size in now.items() if self._before.get(address) != size}
        return sum(size for address, size in fresh.items() if address not in gradients)


def _reachable() -> dict[int, int]:
    gc.collect()
    sizes = {}
    for thing in gc.get_objects():
        # The class decides, not isinstance: asking some objects for their __class__ runs code.
        if issubclass(type(thing), Tensor) and thing.layout is torch.strided and not thing.is_meta:
            storage = thing.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
    sizes.pop(0, None)
    return sizes


def _addresses(tensors: Iterable[Tensor]) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}

"""Ways to train: plainly, compressed, and with a code that does not look at who saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

import gact

SMALL = 4096
"""Least bytes of a tensor that is compressed, for ways that compress small tensors too."""

Backward = Callable[[Tensor], None]


@dataclass(frozen=True, slots=True)
class Way:
    """How to train.

    Attributes:
        arguments: Of ``gact.Compressor``; None for a way without it.
        minmax_bits: Width of the code in its place; 0 for none.
    """

    arguments: Mapping[str, Any] | None = None
    minmax_bits: int = 0

    def open(self, model: nn.Module, seed: int) -> tuple[AbstractContextManager[Any], Backward]:
        """What forward runs in, again and again, and what runs backward.

        Args:
            model: The network.
            seed: Of the rounding.
        """
        if self.minmax_bits:
            return MinMax(model, self.minmax_bits, seed), Tensor.backward
        if self.arguments is None:
            return nullcontext(), Tensor.backward
        compressor = gact.Compressor(model, seed=seed, **self.arguments)
        return compressor, compressor.backward


WAYS: Mapping[str, Way] = {
    "plain": Way(),
    "4 bits": Way({"bits": 4, "adaptive": False}),
    "4 bits from 4 KiB": Way({"bits": 4, "adaptive": False, "min_bytes": SMALL}),
    "2 bits": Way({"bits": 2, "adaptive": False}),
    "automatic 4 bits": Way({"bits": 4}),
    "automatic 3 bits": Way({"bits": 3}),
    "automatic 2 bits": Way({"bits": 2}),
    "automatic 4 bits (update)": Way({"bits": 4, "objective": "update"}),
    "automatic 3 bits (update)": Way({"bits": 3, "objective": "update"}),
    "automatic 2 bits (update)": Way({"bits": 2, "objective": "update"}),
    "min-max 4 bits": Way(minmax_bits=4),
    "min-max 2 bits": Way(minmax_bits=2),
}


class MinMax:
    """Every saved float tensor in groups of 256 between their minimum and maximum, rounded stochastically.

    Weights, tensors of less than ``SMALL`` bytes and tensors that are not finite (masks of attention) are left alone,
    everything else is not: results of ReLU and softmax, logits, statistics.

    Args:
        model: The network.
        bits: Width of a code.
        seed: Of the rounding.
    """

    def __init__(self, model: nn.Module, bits: int, seed: int) -> None:
        self._model = model
        self._bits = bits
        self._seeds = torch.Generator().manual_seed(seed)
        self._own: set[int] = set()
        self._hooks: list[saved_tensors_hooks] = []

    def __enter__(self) -> None:
        tensors = (*self._model.parameters(), *self._model.buffers())
        self._own = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self._hooks.append(saved_tensors_hooks(self._pack, self._unpack))
        self._hooks[-1].__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._hooks.pop().__exit__(*exception)

    def _pack(self, tensor: Tensor) -> Tensor | gact.QuantizedTensor:
        if tensor.untyped_storage().data_ptr() in self._own or not tensor.is_floating_point():
            return tensor
        if tensor.nbytes < SMALL or tensor.layout is not torch.strided or not tensor.isfinite().all():
            return tensor
        seed = int(torch.randint(2**31, (), generator=self._seeds))
        return gact.quantize(tensor.detach().contiguous(), self._bits, seed=seed, rounding="stochastic")

    @staticmethod
    def _unpack(packed: Tensor | gact.QuantizedTensor) -> Tensor:
        return packed.dequantize() if isinstance(packed, gact.QuantizedTensor) else packed

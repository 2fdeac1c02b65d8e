"""What autograd saves on the benchmark networks and on networks with real weights, as samples of values to compress."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from . import networks, pretrained
from .networks import Built

STEPS = 5
LEAST_BYTES = 65536
ALIKE = 2
"""Of the tensors that one op makes in one shape, so many are taken: the layers of a network repeat themselves."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A saved tensor.

    Attributes:
        maker: Name of the autograd node that made it, "leaf" for an input.
        values: Its values in memory order.
    """

    maker: str
    values: Tensor


def saved_activations(network: str, tiny: bool = False) -> list[Activation]:
    """Float tensors that are saved in the forward pass, each storage once, weights left out.

    Networks with random weights are trained for some steps of AdamW first, those with real weights are as they are.

    Args:
        network: Key of ``networks.NETWORKS`` or ``pretrained.PACKAGES``.
        tiny: The much smaller network; those with real weights have none.
    """
    if network in pretrained.PACKAGES:
        built = pretrained.build(network)
    else:
        built = networks.build(network, tiny)
        _train(built, 1 if tiny else STEPS)
    alike: Counter[tuple[str, torch.Size]] = Counter()
    taken = []
    for activation in _saved(built, LEAST_BYTES // 8 if tiny else LEAST_BYTES):
        kind = (activation.maker, activation.values.shape)
        alike[kind] += 1
        if alike[kind] <= ALIKE:
            taken.append(activation)
    return taken


def _train(built: Built, steps: int) -> None:
    optimizer = torch.optim.AdamW(built.model.parameters(), lr=1e-4)
    for _ in range(steps):
        built.loss().backward()
        optimizer.step()
        optimizer.zero_grad()


def _saved(built: Built, least_bytes: int) -> list[Activation]:
    own = {tensor.untyped_storage().data_ptr() for tensor in (*built.model.parameters(), *built.model.buffers())}
    found: dict[tuple[int, int], Activation] = {}
    alive = []

    def see(tensor: Tensor) -> Tensor:
        alive.append(tensor)  # else an address could be given out twice
        address = tensor.untyped_storage().data_ptr()
        if tensor.dtype is torch.float32 and tensor.nbytes >= least_bytes and address not in own:
            maker = tensor.grad_fn.name() if tensor.grad_fn is not None else "leaf"
            strides = tensor.stride()
            order = sorted(range(tensor.dim()), key=lambda dim: -strides[dim])
            found.setdefault(
                (address, tensor.numel()), Activation(maker, tensor.detach().permute(order).contiguous().clone())
            )
        return tensor

    with saved_tensors_hooks(see, lambda tensor: tensor):
        built.loss()
    return list(found.values())

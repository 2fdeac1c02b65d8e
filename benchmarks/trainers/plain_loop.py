"""A loop as users write it: the context around forward is the one line, and a checkpoint has the compressor's state."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

import gact

from .record import BITS, Asked, Trained, trained


def run(
    asked: Asked, model: nn.Module, loss_of: Callable[[int], Tensor], optimizer: torch.optim.Optimizer, steps: int
) -> Trained:
    """Trains and saves or resumes as asked.

    Args:
        asked: How to train.
        model: In training mode.
        loss_of: The loss of a step, given its number from 0; may draw from torch's random state.
        optimizer: Of the model.
        steps: How many there are.
    """
    compressor = gact.Compressor(model, bits=BITS) if asked.compressed else None
    file, begin, end = asked.folder / "checkpoint.pt", 0, steps // 2 if asked.stop else steps
    torch.manual_seed(asked.seed)
    if asked.resume:
        state, begin = torch.load(file), steps // 2
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if compressor is not None:
            compressor.load_state_dict(state["compressor"])
    losses = []
    for step in range(begin, end):
        with compressor or nullcontext():
            loss = loss_of(step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    if asked.stop:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
        torch.save({**state, "compressor": None if compressor is None else compressor.state_dict()}, file)
    return trained(losses, model, compressor)

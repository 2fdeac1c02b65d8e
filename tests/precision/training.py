"""Short trainings in which a measurement falls into a known step."""

import copy
import random

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gact


def compressor(model, **options):
    """One that compresses everything; without other options it measures in its second step."""
    return gact.Compressor(model, **{"min_bytes": 0, "seed": 5, **options})


def uniform(model, bits=6, **options):
    """The same width everywhere: that of the finer codes of a step that measures at 4 bits."""
    return compressor(model, bits=bits, adaptive=False, **options)


def square(model, x):
    """A loss that any output has."""
    return model(x).square().mean()


def step(c, model, x, loss=square):
    """Forward and backward; returns the loss."""
    with c:
        value = loss(model, x)
    c.backward(value)
    return value.detach()


def steps(c, model, x, count):
    for _ in range(count):
        model.zero_grad()
        step(c, model, x)


def gradient(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


def passes(c):
    """Backward passes that measurements have run."""
    return c._controller.passes


def widths(c):
    """Widths that a measurement chose, by site."""
    return {str(site): bits for site, bits in c._controller.widths.items()}


def clone(model):
    """The same network with the same values."""
    return copy.deepcopy(model)


class Checkpointed(nn.Module):
    """Batch norm, dropout and draws of python and numpy inside of a checkpoint, whose backward runs them again."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(32, 64)
        self.body = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Dropout(0.3), nn.GELU())
        self.head = nn.Linear(64, 8)

    def block(self, x):
        return self.body(x) * (1 + 0 * random.random() + 0 * np.random.rand())

    def forward(self, x):
        return self.head(checkpoint(self.block, self.first(x).tanh(), use_reentrant=False))


def seed(value):
    """Seeds the three global generators."""
    torch.manual_seed(value)
    random.seed(value)
    np.random.seed(value)


def random_states():
    """The states of the three global generators, to be compared with ==."""
    state = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), state[1].tolist(), state[2]

"""Activations, values that lie exactly at a bound, and functions of an angle."""

import math

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds, mlp
from torch import nn

KINDS = Kinds()
LOW, HIGH = torch.full((64,), -0.5), torch.full((64,), 0.5)

AT_BOUNDS = {
    "relu6": F.relu6,
    "relu": F.relu,
    "hardtanh": lambda h: F.hardtanh(h, -0.5, 0.5),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "clamp": lambda h: h.clamp(-0.5, 0.5),
    "clamp min": lambda h: h.clamp(min=-0.5),
    "clamp max": lambda h: h.clamp(max=0.5),
    "clamp_min": lambda h: torch.clamp_min(h, 0.5),
    "clamp_max": lambda h: torch.clamp_max(h, 0.5),
    "clamp tensor": lambda h: h.clamp(LOW, HIGH),
    "clamp tensor min": lambda h: h.clamp(min=LOW),
    "clamp tensor max": lambda h: h.clamp(max=HIGH),
    "leaky_relu": lambda h: F.leaky_relu(h, 0.1),
    "threshold": lambda h: F.threshold(h, 0.5, -1.0),
    "hardshrink": lambda h: F.hardshrink(h, 0.5),
    "softshrink": lambda h: F.softshrink(h, 0.5),
    "elu": F.elu,
    "celu": F.celu,
    "abs": torch.abs,
    "maximum": lambda h: torch.maximum(h, LOW) + torch.minimum(h, HIGH),
    "where": lambda h: torch.where(h > 0.5, h, 0.1 * h),
    "amax": lambda h: h + h.amax(-1, keepdim=True),
    "max": lambda h: h + h.max(-1, keepdim=True).values,
    "max_pool": lambda h: h + F.max_pool1d(h[None], 3, 1, 1)[0],
}
SMOOTH = {
    "gelu": F.gelu,
    "gelu tanh": lambda h: F.gelu(h, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "logsigmoid": F.logsigmoid,
    "selu": F.selu,
    "glu": lambda h: F.glu(torch.cat([h, h.flip(-1)], -1)),
    "swiglu": lambda h: F.silu(h) * h.flip(-1),
    "exp": torch.exp,
    "square": torch.square,
    "power": lambda h: h.abs().add(0.1) ** 1.7,
    "cube": lambda h: h**3,
    "erf": torch.erf,
    "atan": torch.atan,
}


@KINDS.of(*AT_BOUNDS)
def at_the_bound(name):
    """Half of the values lie at 0 or at a bound that some of the functions have."""
    model, x, grid = mlp(32, 64, 64), torch.randn(64, 32), torch.tensor([0.0, 0.5, -0.5, 6.0, -3.0, 3.0, 1.0])
    at = grid[torch.randint(0, 7, (64, 64))]
    chosen = torch.rand(64, 64) < 0.5

    def loss():
        h = model(x)
        # A difference of equals is exactly 0 and has a gradient.
        return AT_BOUNDS[name](torch.where(chosen, h - h.detach() + at, h)).mul(torch.linspace(-1, 1, 64)).sum()

    return model, loss


@KINDS
def prelu():
    model, x = nn.ModuleList([mlp(32, 64, 64), nn.PReLU(64)]), torch.randn(64, 32)
    keep = (torch.rand(64, 64) < 0.7).float()
    return model, lambda: model[1](model[0](x) * keep).mul(torch.linspace(-1, 1, 64)).sum()


@KINDS.of(*SMOOTH)
def smooth(name):
    model, x, w = mlp(32, 64, 64), torch.randn(64, 32), torch.randn(64, 64)
    model[2].weight.data *= 8
    return model, lambda: (SMOOTH[name](model(x)) * w).sum() / 64


@KINDS.of(*((f, s) for f in ("sin", "cos") for s in (1.0, 1e2, 1e4)))
def angle(function, size):
    model, x, w = nn.Linear(32, 64), torch.randn(64, 32), torch.randn(64, 64)
    model.weight.data *= size
    return model, lambda: (getattr(torch, function)(model(x)) * w).mean()


@KINDS.of(1.0, 10.0)
def fourier_features(size):
    """Learnable frequencies, as in NeRF and tabular networks."""
    model, x = nn.ModuleDict({"first": nn.Linear(2, 64), "last": nn.Linear(128, 8)}), torch.randn(96, 2)
    model["first"].weight.data *= size

    def loss():
        angles = 2 * math.pi * model["first"](x)
        return model["last"](torch.cat([angles.sin(), angles.cos()], -1)).square().mean()

    return model, loss


@KINDS
def siren():
    model, x = nn.Sequential(nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 3)), torch.rand(128, 2)

    def loss():
        h = torch.sin(30 * model[0](x))
        return model[2](torch.sin(30 * model[1](h))).square().mean()

    return model, loss


@KINDS
def rotary():
    model, x, place = nn.Linear(32, 64), torch.randn(96, 32), torch.arange(96.0)[:, None] * torch.logspace(0, -4, 32)

    def loss():
        first, second = model(x).chunk(2, -1)
        return (torch.cat([first * place.cos(), second * place.sin()], -1).cumsum(0)).square().mean()

    return model, loss


@pytest.mark.parametrize("name", KINDS)
def test_bounds(name):
    KINDS.check(name)

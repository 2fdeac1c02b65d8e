"""Compiled code whose values are of many magnitudes, or near a pole: held exactly, as outside of compiled code."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact

FUNCTIONS = {
    "elu": F.elu,
    "selu": F.selu,
    "celu": lambda x: F.celu(2 * x, 0.3),
    "exponential of one side": lambda x: torch.where(x > 0, x, x.exp()),
    "reciprocal away from zero": lambda x: torch.where(x.abs() > 0.3, 1 / x, 0 * x),
    "reciprocal of a root": lambda x: 2 * x * (1 + 25 * x * x).rsqrt(),
}


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_noise_is_that_of_codes_outside(name):
    torch._dynamo.reset()
    torch.manual_seed(0)
    function = Function(FUNCTIONS[name])
    model = nn.Sequential(nn.Linear(64, 128), function, nn.Linear(128, 128), function, nn.Linear(128, 10))
    x = torch.randn(64, 64) * (1 if "reciprocal" in name else 10)
    parameters = list(model.parameters())
    expected = torch.autograd.grad(model(x).square().mean(), parameters)
    compiled = torch.compile(model, backend="aot_eager")
    with gact.Compressor(model, bits=8, adaptive=False, min_bytes=0):
        loss = compiled(x).square().mean()
    found = torch.autograd.grad(loss, parameters)
    error = sum((a - b).square().sum() for a, b in zip(found, expected, strict=True))
    assert error.sqrt() < 0.02 * sum(b.square().sum() for b in expected).sqrt()


def test_softmax_keeps_its_codes():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.Softmax(-1), nn.Linear(128, 10))
    compiled, x = torch.compile(model, backend="aot_eager"), torch.randn(256, 64)
    compressor = gact.Compressor(model, bits=4, adaptive=False, min_bytes=0)
    with compressor:
        loss = compiled(x).square().mean()
    loss.backward()
    assert compressor.report().ratio > 4

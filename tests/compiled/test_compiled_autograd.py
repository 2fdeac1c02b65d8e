"""Compiled autograd takes tensors alone from hooks: all stays exact under it, and a warning says so."""

import contextlib

import pytest
import torch
from torch import nn

import gact


def test_nothing_is_compressed_under_compiled_autograd():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)), torch.randn(256, 64)
    backward = torch.compile(lambda loss: loss.backward(), backend="aot_eager")

    def gradient(context):
        model.zero_grad()
        with context:
            loss = model(x).square().mean()
        backward(loss)
        return torch.cat([each.grad.flatten() for each in model.parameters()])

    expected = gradient(contextlib.nullcontext())
    compressor = gact.Compressor(model, bits=4, adaptive=False, min_bytes=0)
    with (
        torch._dynamo.config.patch(compiled_autograd=True),
        pytest.warns(gact.GactWarning, match="stands aside under compiled autograd"),
    ):
        found = gradient(compressor)
    assert torch.allclose(found, expected)
    torch._dynamo.reset()
    assert not torch.equal(gradient(compressor), expected)
    assert compressor.report().ratio > 4

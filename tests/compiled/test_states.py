"""Compiled checkpoints with dropout: states of random number generators go from forward to backward."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn
from torch.utils.checkpoint import checkpoint

import gact
from gact.compiled.states import states_of


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(64, 64), nn.LayerNorm(64)

    def forward(self, x):
        return x + nn.functional.dropout(nn.functional.gelu(self.layer(self.norm(x))), 0.2)


def _network():
    torch._dynamo.reset()
    torch.manual_seed(0)
    blocks = nn.ModuleList(_Block() for _ in range(3))

    def run(x):
        for block in blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return x.square().mean()

    return blocks, torch.compile(run, backend="aot_eager"), torch.randn(64, 64)


def test_checkpoint_with_dropout_trains_as_without_gact():
    blocks, run, x = _network()
    parameters = list(blocks.parameters())
    torch.manual_seed(1)
    plain = run(x)
    expected = torch.autograd.grad(plain, parameters)
    torch.manual_seed(1)
    compressor = gact.Compressor(blocks, bits=8, adaptive=False, min_bytes=0)
    with pytest.warns(gact.GactWarning, match="saved tensors were left alone"), compressor:
        loss = run(x)
    found = torch.autograd.grad(loss, parameters)
    assert torch.equal(loss, plain)
    error = sum((a - b).square().sum() for a, b in zip(found, expected, strict=True))
    assert error < 1e-4 * sum(each.square().sum() for each in expected)
    report = compressor.report()
    assert report.kept_bytes < 1.02 * report.plain_bytes  # statistics of rows


def test_values_of_unknown_place_are_refused():
    graph = fx.Graph()
    saved = graph.placeholder("saved")
    other = graph.placeholder("other")
    with pytest.raises(ValueError, match="backward has no inputs for saved"):
        states_of([saved], [other])

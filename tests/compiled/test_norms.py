"""Norms of few elements in compiled code, and what comes before them: gradients almost cancel there."""

from __future__ import annotations

import contextlib
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact

NORMS = {
    "group": (lambda: nn.GroupNorm(64, 512), 512, 64),
    "batch": (lambda: nn.BatchNorm1d(2048), 2048, 4),
    "instance": (lambda: nn.Sequential(nn.Unflatten(1, (512, 4)), nn.InstanceNorm1d(512), nn.Flatten()), 2048, 16),
}
GATES = {"silu": lambda g, u: F.silu(g) * u, "product": lambda g, u: g * u, "gelu": lambda g, u: F.gelu(u)}
BACKENDS = ["aot_eager", "aot_eager_decomp_partition"]


class Gated(nn.Module):
    def __init__(self, gate, norm, width):
        super().__init__()
        self.gate, self.norm = gate, norm
        self.first, self.second, self.last = nn.Linear(32, width), nn.Linear(32, width), nn.Linear(width, 8)

    def forward(self, x):
        return self.last(self.norm(self.gate(self.first(x), self.second(x))))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("norm", NORMS)
def test_gates_before_norms_of_few_elements(norm, gate, backend):
    """Their noise was up to 15 times the gradient at 4 bits, and at 2 bits their mean was off by as much."""
    warnings.simplefilter("ignore")
    torch._dynamo.reset()
    torch.manual_seed(0)
    make, width, rows = NORMS[norm]
    model, x, y = Gated(GATES[gate], make(), width), torch.randn(rows, 32), torch.randn(rows, 8)
    run = torch.compile(lambda: (model(x) * y).sum(), backend=backend)

    def gradient(context):
        with context:
            loss = run()
        found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        return torch.cat([each.flatten().double() for each in found if each is not None])

    expected = gradient(contextlib.nullcontext())
    for bits, limit in ((8, 3e-4), (4, 0.05), (2, 1.0)):
        compressor = gact.Compressor(model, bits=bits, adaptive=False, min_bytes=0)
        errors = torch.stack([(gradient(compressor) - expected) / expected.norm() for _ in range(8)])
        noise = float(errors.square().sum(1).mean())
        assert noise < limit
        assert float(errors.mean(0).square().sum()) < 0.4 * noise + 1e-9

"""A chain of many small layers."""

from __future__ import annotations

import torch
from torch import nn

from ..networks import Built


def chain(tiny: bool) -> Built:
    """Eight times a linear layer, layer norm and GELU, 64 wide, on 256 rows: each tensor is just large enough."""
    rows = 16 if tiny else 256
    layers = [layer for _ in range(8) for layer in (nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU())]
    model = nn.Sequential(*layers).train()
    x = torch.randn(rows, 64)
    return Built(model, lambda: model(x).square().mean(), rows)

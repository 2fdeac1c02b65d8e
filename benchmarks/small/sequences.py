"""A recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Built


class _Classifier(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x)
        return self.head(states[:, -1])


def gru(tiny: bool) -> Built:
    """GRU of two layers, 128 wide, on 32 sequences of 64 steps."""
    batch, steps = (2, 4) if tiny else (32, 64)
    model = _Classifier(128, 2).train()
    x, labels = torch.randn(batch, steps, 128), torch.randint(0, 10, (batch,))
    return Built(model, lambda: F.cross_entropy(model(x), labels), batch)

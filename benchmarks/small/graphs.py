"""A graph convolution network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Built


class _Convolution(nn.Module):
    """Graph convolution (Kipf and Welling 2017): features times weights, summed over weighted edges."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(before, width)

    def forward(self, x: Tensor, source: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        messages = self.linear(x)[source] * weight[:, None]
        return torch.zeros_like(messages[: len(x)]).index_add(0, target, messages)


class _Network(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _Convolution(width, width), _Convolution(width, 10)

    def forward(self, x: Tensor, source: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x, source, target, weight)), source, target, weight)


def gcn(tiny: bool) -> Built:
    """Two layers, 64 wide, on a random graph of 20,000 nodes and 100,000 edges."""
    nodes, edges = (200, 1000) if tiny else (20_000, 100_000)
    model = _Network(64).train()
    source, target = torch.randint(0, nodes, (2, edges))
    degree = torch.bincount(target, minlength=nodes).clamp(min=1).float()
    weight = (degree[source] * degree[target]).rsqrt()
    x, labels = torch.randn(nodes, 64), torch.randint(0, 10, (nodes,))
    return Built(model, lambda: F.cross_entropy(model(x, source, target, weight), labels), nodes)

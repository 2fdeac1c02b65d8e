"""A graph attention network, written with gathers and scatters over the edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Built


def gat(tiny: bool) -> Built:
    """Two layers of graph attention (Velickovic et al. 2018) classifying the nodes of a random graph."""
    nodes, degree, width = (300, 4, 64) if tiny else (3000, 6, 256)
    features = torch.randn(nodes, width)
    model = GAT(width, heads=4, size=width // 4, classes=8).train()
    edges = torch.randint(nodes, (2, nodes * degree))
    labels = torch.randint(8, (nodes,))
    return Built(model, lambda: F.cross_entropy(model(features, edges), labels), nodes)


class GAT(nn.Module):
    """Two layers and a linear classifier."""

    def __init__(self, width: int, heads: int, size: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([GraphAttention(width, heads, size), GraphAttention(heads * size, heads, size)])
        self.last = nn.Linear(heads * size, classes)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Logits ``[nodes, classes]`` from features ``[nodes, width]`` and edges ``[2, edges]``."""
        for layer in self.layers:
            x = F.elu(layer(x, edges))
        return self.last(x)


class GraphAttention(nn.Module):
    """Each node takes the mean of its neighbours, weighted by a softmax over its incoming edges."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, heads * size, bias=False)
        self.receive = nn.Parameter(torch.randn(heads, size) * size**-0.5)
        self.send = nn.Parameter(torch.randn(heads, size) * size**-0.5)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Features ``[nodes, heads * size]``."""
        source, target = edges
        h = self.project(x).unflatten(1, (self.heads, -1))
        scores = (h * self.send).sum(-1)[source] + (h * self.receive).sum(-1)[target]
        weights = F.leaky_relu(scores, 0.2).exp()
        total = h.new_zeros(h.shape[:2]).index_add(0, target, weights)
        mixed = torch.zeros_like(h).index_add(0, target, h[source] * weights[:, :, None])
        return (mixed / (total + 1e-9)[:, :, None]).flatten(1)

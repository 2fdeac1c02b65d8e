"""A graph convolutional network on Pubmed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..datasets import pubmed as read_pubmed
from .task import Task


def pubmed(tiny: bool) -> Task:
    """Two layers (Kipf and Welling 2017), 16 wide, dropout between them, 100 full-batch steps of Adam.

    The metric is the accuracy on the 1,000 nodes of the public split.

    Args:
        tiny: A random graph and few steps, to see that it runs.
    """
    if tiny:
        features, edges, classes = torch.rand(200, 32), torch.randint(200, (2, 800)), torch.randint(3, (200,))
        part = torch.arange(200) % 3
    else:
        features, edges, classes, part = read_pubmed()
    features = features / features.sum(1, keepdim=True).clamp(min=1e-9)
    train, test = ((part == which).nonzero()[:, 0] for which in (0, 2))
    model = GCN(features.shape[1], 16, 3, edges, len(features)).train()
    decay = [{"params": model.first.parameters(), "weight_decay": 5e-4}, {"params": model.second.parameters()}]
    optimizer = torch.optim.Adam(decay, lr=0.01)

    def loss(step: int) -> Tensor:
        return F.cross_entropy(model(features)[train], classes[train])

    def evaluate() -> float:
        return float((model(features)[test].argmax(1) == classes[test]).double().mean())

    return Task(model, loss, 5 if tiny else 100, optimizer, None, "test_accuracy", evaluate)


class GCN(nn.Module):
    """Each layer is a linear one followed by a mean over neighbours, normalised by the degrees of both ends."""

    def __init__(self, width: int, hidden: int, classes: int, edges: Tensor, nodes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, classes, bias=False)
        root = torch.bincount(edges[1], minlength=nodes).clamp(min=1).rsqrt()
        self.register_buffer("source", edges[0])
        self.register_buffer("target", edges[1])
        self.register_buffer("share", (root[edges[0]] * root[edges[1]])[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[nodes, classes]``."""
        x = F.dropout(F.relu(self._spread(self.first(x))), 0.5, self.training)
        return self._spread(self.second(x))

    def _spread(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x).index_add(0, self.target, x[self.source] * self.share)

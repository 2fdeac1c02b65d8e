"""Graph networks: attention with gathers and scatters, a sparse matrix, the greatest of the neighbours."""

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


def gcn(tiny: bool) -> Built:
    """Two layers of graph convolution (Kipf and Welling 2017): a sparse matrix in CSR times bags of words."""
    nodes, degree, width = (300, 4, 64) if tiny else (3000, 6, 256)
    edges = torch.randint(nodes, (2, nodes * degree))
    weights = torch.full((nodes * degree,), 1.0 / degree)
    adjacency = torch.sparse_coo_tensor(edges, weights, (nodes, nodes)).coalesce().to_sparse_csr()
    words = torch.rand(nodes, width) < 0.1
    features, labels = torch.where(words, torch.rand(nodes, width), 0.0), torch.randint(8, (nodes,))
    model = GCN(width, 8).train()
    return Built(model, lambda: F.cross_entropy(model(features, adjacency), labels), nodes)


class GCN(nn.Module):
    """Two layers and a linear classifier."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
        self.last = nn.Linear(width, classes)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Logits ``[nodes, classes]`` from features ``[nodes, width]`` and a sparse matrix ``[nodes, nodes]``."""
        for layer in self.layers:
            x = F.relu(torch.sparse.mm(adjacency, layer(x)))
        return self.last(x)


def sage(tiny: bool) -> Built:
    """Two layers of GraphSAGE (Hamilton et al. 2017), each of which takes the greatest of the neighbours' features."""
    nodes, degree, width = (300, 4, 64) if tiny else (3000, 6, 256)
    edges = torch.randint(nodes, (2, nodes * degree))
    features, labels = torch.randn(nodes, width), torch.randint(8, (nodes,))
    model = SAGE(width, 8).train()
    return Built(model, lambda: F.cross_entropy(model(features, edges), labels), nodes)


class SAGE(nn.Module):
    """Two layers and a linear classifier."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([GreatestNeighbour(width), GreatestNeighbour(width)])
        self.last = nn.Linear(width, classes)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Logits ``[nodes, classes]`` from features ``[nodes, width]`` and edges ``[2, edges]``."""
        for layer in self.layers:
            x = F.relu(layer(x, edges))
        return self.last(x)


class GreatestNeighbour(nn.Module):
    """A linear layer of each node's own features, and one of the greatest of what its neighbours send."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.send, self.own, self.mix = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Features ``[nodes, width]``."""
        source, target = edges
        sent = F.relu(self.send(x))[source]
        index = target[:, None].expand_as(sent)
        greatest = torch.zeros_like(x).scatter_reduce(0, index, sent, "amax", include_self=True)
        return self.own(x) + self.mix(greatest)

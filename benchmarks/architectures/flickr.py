"""PyG's graph networks on a random graph of the shape of Flickr (Zeng et al. 2020), which GACT's paper trains on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Built, hold_statistics

NODES, EDGES, FEATURES, CLASSES = 89_250, 900_000, 500, 7


def flickr_gcn(tiny: bool) -> Built:
    """``GCN``: three layers, 256 wide, with batch norm."""
    from torch_geometric.nn import GCN

    return _built(tiny, lambda: GCN(FEATURES, 256, num_layers=3, out_channels=CLASSES, norm="batch_norm"))


def flickr_gat(tiny: bool) -> Built:
    """``GAT``: three layers of 4 heads, 128 wide."""
    from torch_geometric.nn import GAT

    return _built(tiny, lambda: GAT(FEATURES, 128, num_layers=3, out_channels=CLASSES, heads=4))


def flickr_gcnii(tiny: bool) -> Built:
    """Eight of ``GCN2Conv`` between two linear layers, 256 wide."""
    return _built(tiny, lambda: _GCNII(256, 8))


class _GCNII(nn.Module):
    """As in PyG's ``examples/gcn2_cora.py``."""

    def __init__(self, width: int, layers: int) -> None:
        from torch_geometric.nn import GCN2Conv

        super().__init__()
        self.first, self.last = nn.Linear(FEATURES, width), nn.Linear(width, CLASSES)
        self.layers = nn.ModuleList([GCN2Conv(width, 0.1, 0.5, each + 1) for each in range(layers)])

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Logits ``[nodes, classes]`` from features ``[nodes, width]`` and edges ``[2, edges]``."""
        first = x = self.first(x).relu()
        for layer in self.layers:
            x = layer(x, first, edges).relu()
        logits: Tensor = self.last(x)
        return logits


def _built(tiny: bool, make: Callable[[], nn.Module]) -> Built:
    nodes, edges = (300, 1200) if tiny else (NODES, EDGES)
    model = make().train()
    hold_statistics(model)
    ends = torch.randint(nodes, (2, edges))
    features, labels = torch.randn(nodes, FEATURES), torch.randint(CLASSES, (nodes,))
    return Built(model, lambda: F.cross_entropy(model(features, ends), labels), nodes)

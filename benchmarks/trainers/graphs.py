"""Node classification on Pubmed with PyG's GCN, GAT and GCNII, as in PyG's examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..datasets import pubmed
from .plain_loop import run
from .record import Asked, Trained


def gcn(asked: Asked) -> Trained:
    """PyG's ``GCN``: three layers, 128 wide, with batch norm and dropout 0.5.

    Args:
        asked: How to train.
    """
    return _trained("GCN", asked)


def gat(asked: Asked) -> Trained:
    """PyG's ``GAT``: two layers of 8 heads, 64 wide, dropout 0.6.

    Args:
        asked: How to train.
    """
    return _trained("GAT", asked)


def gcnii(asked: Asked) -> Trained:
    """Four of PyG's ``GCN2Conv`` between two linear layers, 64 wide, dropout 0.6.

    Args:
        asked: How to train.
    """
    return _trained("GCNII", asked)


def _trained(name: str, asked: Asked) -> Trained:
    features, edges, classes, part = _random() if asked.tiny else _pubmed()
    torch.manual_seed(asked.seed)
    model = _MODELS[name](features.shape[1], int(classes.max()) + 1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    train = part == 0

    def loss(step: int) -> Tensor:
        return F.cross_entropy(model(features, edges)[train], classes[train])

    return run(asked, model, loss, optimizer, 6 if asked.tiny else 30)


@cache
def _pubmed() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    features, edges, classes, part = pubmed()
    return features / features.sum(1, keepdim=True).clamp(min=1e-9), edges[:, edges[0] != edges[1]], classes, part


def _random() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    edges = torch.randint(500, (2, 2000), generator=draw)
    return torch.rand(500, 64, generator=draw), edges, torch.arange(500) % 3, torch.arange(500) % 2


def _gcn(width: int, classes: int) -> nn.Module:
    from torch_geometric.nn import GCN

    model: nn.Module = GCN(width, 128, num_layers=3, out_channels=classes, dropout=0.5, norm="batch_norm")
    return model


def _gat(width: int, classes: int) -> nn.Module:
    from torch_geometric.nn import GAT

    model: nn.Module = GAT(width, 64, num_layers=2, out_channels=classes, dropout=0.6, heads=8)
    return model


class _GCNII(nn.Module):
    """As in PyG's ``examples/gcn2_cora.py``, with fewer layers."""

    def __init__(self, width: int, classes: int) -> None:
        from torch_geometric.nn import GCN2Conv

        super().__init__()
        self.first, self.last = nn.Linear(width, 64), nn.Linear(64, classes)
        self.layers = nn.ModuleList([GCN2Conv(64, 0.1, 0.5, each + 1) for each in range(4)])

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Logits ``[nodes, classes]``."""
        first = x = self.first(F.dropout(x, 0.6, self.training)).relu()
        for layer in self.layers:
            x = layer(F.dropout(x, 0.6, self.training), first, edges).relu()
        logits: Tensor = self.last(F.dropout(x, 0.6, self.training))
        return logits


_MODELS: Mapping[str, Callable[[int, int], nn.Module]] = {"GCN": _gcn, "GAT": _gat, "GCNII": _GCNII}

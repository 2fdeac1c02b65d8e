"""Networks of a few lines: three-dimensional, an MLP-mixer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Built


def volumes(tiny: bool) -> Built:
    """Convolutions over three dimensions with batch norm, ReLU and pooling."""
    batch, side, width = (2, 8, 8) if tiny else (6, 16, 32)
    layers: list[nn.Module] = []
    for before, after in ((1, width), (width, width), (width, 2 * width)):
        layers += [nn.Conv3d(before, after, 3, padding=1, bias=False), nn.BatchNorm3d(after), nn.ReLU()]
    model = nn.Sequential(*layers, nn.MaxPool3d(2), nn.Flatten(), nn.Linear(2 * width * (side // 2) ** 3, 10)).train()
    scans, labels = torch.randn(batch, 1, side, side, side), torch.randint(10, (batch,))
    return Built(model, lambda: F.cross_entropy(model(scans), labels), batch)


def mixer(tiny: bool) -> Built:
    """MLP-mixer (Tolstikhin et al. 2021) on patches of images."""
    batch, side, width, blocks = (2, 32, 64, 1) if tiny else (8, 64, 128, 4)
    patches = (side // 8) ** 2
    model = nn.Sequential(
        nn.Conv2d(3, width, 8, stride=8),
        nn.Flatten(2),
        *[Mixing(patches, width) for _ in range(blocks)],
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    ).train()
    images, labels = torch.randn(batch, 3, side, side), torch.randint(10, (batch,))
    return Built(model, lambda: F.cross_entropy(model(images), labels), batch)


class Mixing(nn.Module):
    """One perceptron over the patches, then one over the channels."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.tokens = perceptron(patches, 4 * patches)
        self.channels = perceptron(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[batch, width, patches]`` of the same size."""
        x = x + self.tokens(self.norms[0](x.transpose(1, 2)).transpose(1, 2))
        return x + self.channels(self.norms[1](x.transpose(1, 2))).transpose(1, 2)


def perceptron(width: int, hidden: int) -> nn.Module:
    """Two linear layers with GELU in between."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

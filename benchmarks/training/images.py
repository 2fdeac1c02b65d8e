"""A small residual network on Fashion-MNIST."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from ..datasets import fashion_mnist
from .task import Task

BATCH = 100


def fashion(tiny: bool) -> Task:
    """10,000 images, 2 epochs of batches of 100, SGD with momentum; accuracy on 5,000 others.

    Args:
        tiny: Random images and few steps, to see that it runs.
    """
    if tiny:
        images, classes = torch.randn(200, 1, 28, 28), torch.randint(10, (200,))
        others, truth = images, classes
    else:
        images, classes, others, truth = fashion_mnist()
        others, truth = others[:5000], truth[:5000]
    train, epochs = (len(images), 1) if tiny else (10_000, 2)
    chosen = torch.randperm(len(images))[:train]
    order = torch.cat([chosen[torch.randperm(train)] for _ in range(epochs)]).split(BATCH)
    model = ResNet(10).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=len(order), cycle_momentum=False)

    def loss(step: int) -> Tensor:
        return F.cross_entropy(model(images[order[step]]), classes[order[step]])

    def evaluate() -> float:
        found = torch.cat([model(some).argmax(1) for some in others.split(500)])
        return float((found == truth).double().mean())

    return Task(model, loss, len(order), optimizer, schedule, "test_accuracy", evaluate)


class ResNet(nn.Sequential):
    """Three stages of one basic block, 16, 32 and 64 channels wide, after a convolution with stride 2."""

    def __init__(self, classes: int) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            Block(16, 16, 1),
            Block(16, 32, 2),
            Block(32, 64, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, classes),
        )


class Block(nn.Module):
    """Two convolutions around a residual connection (He et al. 2016)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.skip = nn.Conv2d(before, after, 1, stride=stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features, ``stride`` times smaller."""
        return F.relu(self.body(x) + self.skip(x))

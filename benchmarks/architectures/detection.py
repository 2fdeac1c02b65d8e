"""A one-stage detector: feature pyramid, heads for classes and boxes, focal and smooth L1 losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Built

CLASSES = 20


def detector(tiny: bool) -> Built:
    """RetinaNet's scheme (Lin et al. 2017) on three levels with random targets, one cell in 16 positive."""
    batch, side, width = (2, 64, 16) if tiny else (4, 192, 48)
    model = Detector(width).train()
    images = torch.randn(batch, 3, side, side)
    cells = sum((side // stride) ** 2 for stride in (8, 16, 32))
    positive = torch.rand(batch, cells) < 1 / 16
    labels = F.one_hot(torch.randint(CLASSES, (batch, cells)), CLASSES).float() * positive[:, :, None]
    boxes = torch.randn(int(positive.sum()), 4)

    def loss() -> Tensor:
        scores, offsets = model(images)
        return (focal(scores, labels).sum() + F.smooth_l1_loss(offsets[positive], boxes, reduction="sum")) / len(boxes)

    return Built(model, loss, batch)


def focal(scores: Tensor, labels: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """The focal loss of each score."""
    entropy = F.binary_cross_entropy_with_logits(scores, labels, reduction="none")
    share = scores.sigmoid()
    missed = share * (1 - labels) + (1 - share) * labels
    return (alpha * labels + (1 - alpha) * (1 - labels)) * missed**gamma * entropy


class Detector(nn.Module):
    """Backbone, pyramid, and two heads shared by its levels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 2 * width, 4 * width]
        self.stages = nn.ModuleList([stage(3 if i == 0 else widths[i - 1], widths[i]) for i in range(5)])
        self.lateral = nn.ModuleList([nn.Conv2d(size, width, 1) for size in widths[2:]])
        self.smooth = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(3)])
        self.classes, self.boxes = head(width, CLASSES), head(width, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores ``[batch, cells, classes]`` and boxes ``[batch, cells, 4]``."""
        x, found = images, []
        for number, each in enumerate(self.stages):
            x = each(x)
            if number >= 2:
                found.append(self.lateral[number - 2](x))
        for level in (1, 0):
            found[level] = found[level] + F.interpolate(found[level + 1], size=found[level].shape[-2:], mode="nearest")
        levels = [smooth(level) for smooth, level in zip(self.smooth, found, strict=True)]
        return tuple(torch.cat([each(x).flatten(2).mT for x in levels], 1) for each in (self.classes, self.boxes))


def stage(before: int, after: int) -> nn.Module:
    """Half the resolution."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def head(width: int, outputs: int) -> nn.Module:
    """Three convolutions with ReLU, then one without."""
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(width, outputs, 3, padding=1))

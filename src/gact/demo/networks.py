"""The two networks: a small residual network and a small vision transformer, in plain torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .digits import CLASSES, SIZE


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to a projection of the input; halves the resolution.

    Args:
        inputs: Channels in.
        outputs: Channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.project = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[n, inputs, s, s]`` to ``[n, outputs, s / 2, s / 2]``."""
        hidden = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(hidden)) + self.project(x))


class ConvClassifier(nn.Module):
    """A stem and two residual blocks, averaged over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.Sequential(ResidualBlock(8, 16), ResidualBlock(16, 32))
        self.head = nn.Linear(32, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[n, 1, 32, 32]`` to logits ``[n, 10]``."""
        features: Tensor = self.blocks(self.stem(images))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward network.

    Args:
        width: Features of a token.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``[n, t, width]`` to the same size."""
        n, t, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, t, width)
        x = x + self.out(mixed)
        hidden: Tensor = self.down(F.gelu(self.up(self.norm2(x))))
        return x + hidden


class TransformerClassifier(nn.Module):
    """Overlapping patches as 64 tokens, two transformer blocks, a head that reads all tokens."""

    def __init__(self) -> None:
        super().__init__()
        width, tokens = 32, (SIZE // 4) ** 2
        self.patches = nn.Conv2d(1, width, 8, stride=4, padding=2)
        self.positions = nn.Parameter(0.5 * torch.randn(1, tokens, width))
        self.blocks = nn.Sequential(TransformerBlock(width, 4), TransformerBlock(width, 4))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(tokens * width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[n, 1, 32, 32]`` to logits ``[n, 10]``."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).flatten(1))
        return logits


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolutional": ConvClassifier,
    "transformer": TransformerClassifier,
}

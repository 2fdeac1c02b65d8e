"""A U-Net that predicts the noise in noisy images, as diffusion models do."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Built


def unet(tiny: bool) -> Built:
    """Group norm, SiLU, attention at the lower resolution, concatenated skips, an embedding of the time."""
    batch, side, width = (2, 16, 32) if tiny else (4, 32, 64)
    model = UNet(width).train()
    noise, images, time = torch.randn(batch, 3, side, side), torch.randn(batch, 3, side, side), torch.rand(batch)
    share = time[:, None, None, None]
    noisy = images * (1 - share).sqrt() + noise * share.sqrt()
    return Built(model, lambda: F.mse_loss(model(noisy, time), noise), batch)


class UNet(nn.Module):
    """Two resolutions, two blocks each way at both, attention in the middle."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList([Block(width, width, width), Block(width, width, width)])
        self.shrink = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.middle = nn.ModuleList([Block(width, 2 * width, width), Block(2 * width, 2 * width, width)])
        self.attention = Attention(2 * width)
        self.back = Block(4 * width, 2 * width, width)
        self.widen = nn.Conv2d(2 * width, width, 3, padding=1)
        self.up = nn.ModuleList([Block(2 * width, width, width), Block(2 * width, width, width)])
        self.norm = nn.GroupNorm(8, width)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, images: Tensor, time: Tensor) -> Tensor:
        """The noise in images ``[batch, 3, side, side]`` at times between 0 and 1, ``[batch]``."""
        embedded = self.time(waves(time, self.width))
        x, skips = self.first(images), []
        for block in self.down:
            x = block(x, embedded)
            skips.append(x)
        x = self.middle[0](self.shrink(x), embedded)
        low = x
        x = self.middle[1](self.attention(x), embedded)
        x = self.back(torch.cat((x, low), 1), embedded)
        x = self.widen(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        for block in self.up:
            x = block(torch.cat((x, skips.pop()), 1), embedded)
        return self.last(F.silu(self.norm(x)))


class Block(nn.Module):
    """Norm, SiLU, convolution, twice, the time added in between, around a residual connection."""

    def __init__(self, before: int, after: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(8, before), nn.GroupNorm(8, after)])
        self.convolutions = nn.ModuleList([nn.Conv2d(size, after, 3, padding=1) for size in (before, after)])
        self.time = nn.Linear(4 * width, after)
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """Features of the same resolution."""
        y = self.convolutions[0](F.silu(self.norms[0](x)))
        y = y + self.time(F.silu(embedded))[:, :, None, None]
        y = self.convolutions[1](F.silu(self.norms[1](y)))
        return self.skip(x) + y


class Attention(nn.Module):
    """Self-attention over all pixels with 4 heads, around a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.project = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size."""
        heads = self.project(self.norm(x)).flatten(2).unflatten(1, (3, 4, -1)).transpose(-1, -2)
        mixed = F.scaled_dot_product_attention(*heads.unbind(1))
        return x + self.out(mixed.transpose(-1, -2).reshape(x.shape))


def waves(time: Tensor, width: int) -> Tensor:
    """Sines and cosines of the time at ``width / 2`` frequencies."""
    frequencies = torch.exp(torch.arange(width // 2) * (-math.log(1e4) / (width // 2)))
    angles = 1e3 * time[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), 1)

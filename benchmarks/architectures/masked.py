"""Attention under a mask of truth values."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Built


def masked(tiny: bool) -> Built:
    """Blocks of attention on padded sequences, each with a mask of truth values for every sequence and head."""
    batch, tokens, width, blocks = (4, 32, 64, 1) if tiny else (16, 128, 256, 2)
    model = Masked(1000, width, blocks).train()
    words = torch.randint(1000, (batch, tokens))
    lengths = torch.randint(tokens // 2, tokens + 1, (batch,))
    seen = torch.arange(tokens) < lengths[:, None]
    near = (torch.arange(tokens)[:, None] - torch.arange(tokens)).abs() < tokens // 2
    mask = seen[:, None, None, :] & near
    return Built(model, lambda: F.cross_entropy(model(words, mask).flatten(0, 1), words.flatten()), batch)


class Masked(nn.Module):
    """Embedding, blocks of attention and a perceptron, classifier."""

    def __init__(self, tokens: int, width: int, blocks: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList([Block(width, heads=4) for _ in range(blocks)])
        self.last = nn.Linear(width, tokens)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Logits ``[batch, tokens, words]``."""
        x = self.embedding(words)
        for block in self.blocks:
            x = block(x, mask)
        return self.last(x)


class Block(nn.Module):
    """Attention and a perceptron, each after a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Features ``[batch, tokens, width]`` under a mask ``[batch, 1, tokens, tokens]``, true where is looked."""
        q, k, v = self.project(self.norms[0](x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.perceptron(self.norms[1](x))

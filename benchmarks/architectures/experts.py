"""A decoder whose perceptrons are mixtures of experts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Built


def experts(tiny: bool) -> Built:
    """Each token goes to the 2 best of 8 experts; the loss has the usual term that balances them."""
    batch, tokens, width, layers = (2, 32, 64, 1) if tiny else (8, 128, 128, 3)
    model = Decoder(1000, width, layers).train()
    words = torch.randint(1000, (batch, tokens))

    def loss() -> Tensor:
        logits, balance = model(words[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten()) + 0.01 * balance

    return Built(model, loss, batch)


class Decoder(nn.Module):
    """Embedding, layers, classifier."""

    def __init__(self, tokens: int, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.layers = nn.ModuleList([Layer(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, tokens)

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[batch, length, tokens]`` and the sum of the layers' balance."""
        x, balance = self.embedding(words), torch.zeros(())
        for layer in self.layers:
            x, more = layer(x)
            balance = balance + more
        return self.last(self.norm(x)), balance


class Layer(nn.Module):
    """Causal attention, then experts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.experts = Experts(width, count=8, chosen=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the same size and the balance of the experts."""
        heads = self.project(self.norms[0](x)).unflatten(-1, (3, 4, -1)).movedim(1, 3)
        mixed = F.scaled_dot_product_attention(*heads.unbind(1), is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        y, balance = self.experts(self.norms[1](x).flatten(0, 1))
        return x + y.view_as(x), balance


class Experts(nn.Module):
    """Perceptrons, of which a softmax over linear scores chooses some for each token."""

    def __init__(self, width: int, count: int, chosen: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.gate = nn.Linear(width, count, bias=False)
        self.experts = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(count)]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs ``[tokens, width]``, and how unevenly the experts are used: 1 if evenly."""
        shares = self.gate(x).softmax(-1)
        weights, which = shares.topk(self.chosen)
        weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            token, rank = (which == number).nonzero(as_tuple=True)
            out = out.index_add(0, token, expert(x[token]) * weights[token, rank, None])
        used = F.one_hot(which, len(self.experts)).float().sum(1).mean(0) / self.chosen
        return out, len(self.experts) * (used * shares.mean(0)).sum()

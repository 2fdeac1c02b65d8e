"""A small decoder on the letters of the speeches on the State of the Union."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from ..datasets import state_of_the_union
from .task import Task

BATCH = 16


def speeches(tiny: bool) -> Task:
    """A GPT of 3 layers, 96 wide, on 64 letters: 200 batches of 16, AdamW; loss on the last twentieth of the text.

    Args:
        tiny: Random letters and few steps, to see that it runs.
    """
    text = "".join(chr(65 + i % 7) for i in range(20_000)) if tiny else state_of_the_union()
    letters = {letter: number for number, letter in enumerate(sorted(set(text)))}
    held_out = max(len(text) // 20, 1)
    validation = _encoded(text[-held_out:][:65_000], letters)
    length, steps = (16, 3) if tiny else (64, 200)
    starts = torch.randint(len(text) - held_out - length - 1, (steps, BATCH))
    model = GPT(len(letters), length, width=32 if tiny else 96, layers=1 if tiny else 3).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    schedule = OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.1, cycle_momentum=False)

    def of(windows: Tensor) -> Tensor:
        return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())

    def loss(step: int) -> Tensor:
        return of(torch.stack([_encoded(text[at : at + length + 1], letters) for at in starts[step].tolist()]))

    def evaluate() -> float:
        windows = validation[: (len(validation) - 1) // (length + 1) * (length + 1)].view(-1, length + 1)
        losses = [of(some) * len(some) for some in windows.split(100)]
        return float(sum(losses)) / len(windows)

    return Task(model, loss, steps, optimizer, schedule, "validation_loss", evaluate)


def _encoded(text: str, letters: dict[str, int]) -> Tensor:
    return torch.tensor([letters[letter] for letter in text])


class GPT(nn.Module):
    """Causal attention and perceptrons with GELU, norms first."""

    def __init__(self, letters: int, length: int, width: int, layers: int) -> None:
        super().__init__()
        self.letters, self.places = nn.Embedding(letters, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList([Layer(width) for _ in range(layers)])
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, letters)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[batch, length, letters]``."""
        x = self.letters(x) + self.places.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.last(self.norm(x))


class Layer(nn.Module):
    """Attention with 4 heads, then a perceptron, each around a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size."""
        heads = self.project(self.norms[0](x)).unflatten(-1, (3, 4, -1)).movedim(1, 3)
        mixed = F.scaled_dot_product_attention(*heads.unbind(1), is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.perceptron(self.norms[1](x))

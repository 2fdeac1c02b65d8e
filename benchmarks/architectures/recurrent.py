"""Recurrent networks that predict the next token: cells in a loop, and the fused layers of torch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Built


def lstm(tiny: bool) -> Built:
    """Two layers of LSTM cells predicting the next token, written as a loop over the tokens."""
    return _recurrent(tiny, CellLoop)


def lstm_fused(tiny: bool) -> Built:
    """The same as one call of ``nn.LSTM``, whose kernel for the CPU saves an opaque buffer of bytes."""
    return _recurrent(tiny, Fused)


def lstm_again(tiny: bool) -> Built:
    """The same, where the kernel is run again at backward, so that its buffer is not held."""
    return replace(lstm_fused(tiny), settings={"checkpoint": ["recurrent.*"]})


def gru(tiny: bool) -> Built:
    """Two layers of ``nn.GRU``, whose kernel for the CPU saves plain tensors for each token."""
    return _recurrent(tiny, FusedGRU)


def _recurrent(tiny: bool, layer: type[nn.Module]) -> Built:
    width, batch, tokens = (64, 4, 16) if tiny else (256, 64, 33)
    model = NextToken(1000, width, layer).train()
    words = torch.randint(1000, (batch, tokens))
    return Built(model, lambda: F.cross_entropy(model(words[:, :-1]).flatten(0, 1), words[:, 1:].flatten()), batch)


class NextToken(nn.Module):
    """Embedding, two recurrent layers, classifier."""

    def __init__(self, tokens: int, width: int, layer: type[nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.recurrent = nn.Sequential(layer(width), layer(width))
        self.last = nn.Linear(width, tokens)

    def forward(self, words: Tensor) -> Tensor:
        """Logits ``[batch, length, tokens]``."""
        return self.last(self.recurrent(self.embedding(words)))


class CellLoop(nn.Module):
    """An LSTM layer that calls its cell for each token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[batch, length, width]``."""
        state, found = None, []
        for token in x.unbind(1):
            state = self.cell(token, state)
            found.append(state[0])
        return torch.stack(found, 1)


class Fused(nn.Module):
    """An LSTM layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[batch, length, width]``."""
        return self.lstm(x)[0]


class FusedGRU(nn.Module):
    """A GRU layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[batch, length, width]``."""
        return self.gru(x)[0]

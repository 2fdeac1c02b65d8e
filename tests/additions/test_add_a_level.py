"""A level: a name for a way of training."""

import torch

import gact
from gact.levels import LEVELS, Level


def test_it_is_chosen_by_its_name(monkeypatch):
    monkeypatch.setitem(LEVELS, "L1-again", Level("L1-again", compress=True, checkpoint=True))
    layers = [torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU()) for _ in range(3)]
    model = torch.nn.Sequential(torch.nn.ModuleList(layers), *layers)
    x = torch.randn(512, 64, requires_grad=True)
    with gact.Compressor.from_level(model, "L1-again") as compressor:
        loss = torch.nn.Sequential(*layers)(x * 1.0).sum()
    assert compressor.report().ratio > 1
    loss.backward()

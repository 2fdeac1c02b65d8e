"""A model of three blocks and its compressor, for tests of how a context opens and closes."""

import pytest
from torch import nn

import gact
from gact.memory import allocator
from leftovers import Block, end_steps


@pytest.fixture
def model(monkeypatch):
    end_steps()
    monkeypatch.setattr(allocator._State, "decided", False)
    return nn.Sequential(nn.Linear(16, 16), *(Block() for _ in range(3)))


@pytest.fixture
def c(model):
    return gact.Compressor(model, bits=8, adaptive=False, min_bytes=0, checkpoint=True)

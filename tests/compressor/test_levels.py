"""The paper's levels, and a compressor that does nothing."""

import copy

import pytest
import torch
from torch import nn

import gact
from saved import active_pair


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 8))


def gradients(c, model, count=3):
    for _ in range(count):
        model.zero_grad()
        with c:
            loss = model(torch.ones(64, 32)).square().mean()
        c.backward(loss)
    return [parameter.grad for parameter in model.parameters()]


def test_level_zero_is_plain_training(model):
    c = gact.Compressor.from_level(model, "L0", min_bytes=0)
    with c:
        assert active_pair() is None
        loss = model(torch.ones(64, 32)).square().mean()
    loss.backward()
    plain = [parameter.grad.clone() for parameter in model.parameters()]
    assert all(map(torch.equal, gradients(c, model), plain))
    assert c.report().rows == ()
    assert all(map(torch.equal, gradients(copy.deepcopy(c), model), plain))


def test_level_one_is_automatic_four_bits(model):
    c = gact.Compressor.from_level(model, "L1", min_bytes=0, seed=3)
    gradients(c, model)
    assert c.report().passes > 1
    assert "bits=4.0, adaptive=True" in repr(c)
    assert "seed=3" in repr(c)


def test_options_go_before_the_level(model):
    assert "bits=2.5" in repr(gact.Compressor.from_level(model, "L1", bits=2.5))


def test_level_two_moves_the_codes(model):
    c = gact.Compressor.from_level(model, "L2", min_bytes=0)
    with c:
        loss = model(torch.ones(64, 32)).square().mean()
    assert c.report().offloaded_bytes > 0
    c.backward(loss)


@pytest.mark.parametrize("level", ["CB1", "CB2"])
def test_checkpointed_levels_hold_the_inputs_of_blocks(level):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(3))
            self.chosen = None

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

        def set_attn_implementation(self, name):
            self.chosen = name

    model = Network()
    c = gact.Compressor.from_level(model, level, min_bytes=0)
    with c:
        loss = model(torch.ones(64, 32).requires_grad_() * 1).square().mean()
    assert {row.op for row in c.report().rows if row.codec == "groups"} <= {"checkpoint", "square", "pow"}
    c.backward(loss)
    assert model.chosen == ("sdpa" if level == "CB2" else None)


def test_attention_that_cannot_be_exchanged_is_named():
    model = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(2)])
    with pytest.warns(UserWarning, match="CB2 leaves the attention of Sequential as it is"):
        gact.Compressor.from_level(model, "CB2")


@pytest.mark.parametrize("level", ["L9", "", None, 1])
def test_unknown_levels_are_refused(level, model):
    with pytest.raises(ValueError, match="level must be one of L0, L1, L2, CB1, CB2, got"):
        gact.Compressor.from_level(model, level)

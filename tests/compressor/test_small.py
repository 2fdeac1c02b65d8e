"""What counts as small: a fixed size, or by the share of all that small tensors keep."""

import json

import pytest
import torch
from torch import nn

import gact

KIB = 2**10


class Recurrent(nn.Module):
    """Keeps many tensors of 48 KiB, and a head of 3 KiB."""

    def __init__(self, steps=60):
        super().__init__()
        self.cell, self.head, self.steps = nn.GRUCell(64, 128), nn.Linear(128, 24), steps

    def forward(self, x):
        h = x.new_zeros(32, 128)
        for _ in range(self.steps):
            h = self.cell(x, h)
        return nn.functional.cross_entropy(self.head(h), torch.arange(32) % 24)


class Wide(nn.Module):
    """Keeps small tensors too, but others are most of it."""

    def __init__(self):
        super().__init__()
        self.small, self.large = Recurrent(), nn.Sequential(nn.Linear(64, 4096), nn.GELU(), nn.Linear(4096, 64))

    def forward(self, x):
        return self.large(x.repeat(64, 1)).square().mean() + self.small(x)


def step(c, model, x):
    with c:
        loss = model(x)
    report = c.report()
    loss.backward()
    return report


def small(report):
    return sum(row.plain_bytes for row in report.rows if row.reason == "small")


@pytest.fixture
def x():
    return torch.randn(32, 64)


def test_small_tensors_that_are_most_of_the_memory_are_compressed(x):
    model = Recurrent()
    c = gact.Compressor(model, bits=4, adaptive=False)
    first, second = step(c, model, x), step(c, model, x)
    assert first.ratio > 3
    assert second.ratio > 6
    assert small(second) < 0.1 * second.plain_bytes
    head = [row for row in second.rows if row.op in ("linear", "cross_entropy") and row.plain_bytes < 4 * KIB]
    assert all(row.codec == "keep" for row in head if row.plain_bytes)  # the loss and its like stay exact


def test_small_tensors_that_are_a_small_part_stay_as_they_are(x):
    model = Wide()
    c = gact.Compressor(model, bits=4, adaptive=False)
    for _ in range(3):
        report = step(c, model, x)
    assert 2**20 < small(report) < 0.5 * report.plain_bytes


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("least", [65536, 0])
def test_a_size_that_is_asked_for_holds(least, x):
    model = Recurrent()
    c = gact.Compressor(model, bits=4, adaptive=False, min_bytes=least)
    for _ in range(2):
        report = step(c, model, x)
    kept = [row for row in report.rows if row.reason == "small"]
    assert bool(kept) == bool(least)
    assert least == 0 or small(report) > 0.9 * report.plain_bytes


def test_what_was_found_to_be_small_is_resumed(x):
    model = Recurrent()
    whole = gact.Compressor(model, bits=4, adaptive=False)
    step(whole, model, x)
    resumed = gact.Compressor(model, bits=4, adaptive=False)
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    model.zero_grad()
    step(whole, model, x)
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    report = step(resumed, model, x)
    assert report.ratio > 6
    assert all(
        torch.equal(parameter.grad, other) for parameter, other in zip(model.parameters(), expected, strict=True)
    )


def test_gradients_of_many_small_tensors(x):
    model = Recurrent()
    model(x).backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    c = gact.Compressor(model, bits=8, adaptive=False)
    for _ in range(2):
        model.zero_grad()
        step(c, model, x)
    found = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    assert ((found - expected).norm() / expected.norm()) ** 2 < 3e-3

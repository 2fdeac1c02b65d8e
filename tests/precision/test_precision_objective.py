"""What the allocation makes least."""

import pytest
import torch
from torch import nn

import gact
from gact.precision.budget import Options
from gact.precision.findings import Finding
from gact.precision.objective import weights

ENERGY = torch.tensor([9.0, 1.0, 0.0], dtype=torch.float64)
NUMEL = torch.tensor([100.0, 300.0, 0.0], dtype=torch.float64)


def test_the_gradient_counts_as_a_whole():
    found = weights("gradient", ENERGY, NUMEL)
    assert found.tolist() == [[0.1, 0.1]] * 3


def test_for_an_update_half_of_the_weight_is_by_the_own_gradient():
    found = weights("update", ENERGY, NUMEL)
    assert found[:, 0].tolist() == [0.1] * 3
    assert found[0, 1] == pytest.approx((0.1 + 0.25 / 9) / 2)
    assert found[1, 1] == pytest.approx((0.1 + 0.75 / 1) / 2)
    assert found[2, 1] == pytest.approx(0.05)


@pytest.mark.parametrize("objective", ["gradient", "update"])
def test_energies_of_the_gradient_itself_add_up_to_one(objective):
    assert (weights(objective, ENERGY, NUMEL) * ENERGY[:, None]).sum(0).tolist() == pytest.approx([1.0, 1.0])


def test_a_gradient_of_zero_has_no_weights():
    assert not weights("update", torch.zeros(3, dtype=torch.float64), NUMEL).any()


def test_widths_follow_the_objective_and_noise_stays_that_of_the_gradient():
    noise = tuple(4.0**-bits for bits in range(1, 9))
    alike = [Finding((4096,), 1, 8, 1, 1.0, noise, weight) for weight in (1.0, 1.0)]
    heavy = [Finding((4096,), 1, 8, 1, 1.0, noise, weight) for weight in (1.0, 64.0)]
    budget = 2 * 4096 * 4 // 8
    assert Options(alike).within(budget).bits == [4, 4]
    found = Options(heavy).within(budget)
    assert found.bits[1] > found.bits[0]
    assert found.noise == pytest.approx(sum(noise[bits - 1] for bits in found.bits))
    assert found.cost == pytest.approx(noise[found.bits[0] - 1] + 64 * noise[found.bits[1] - 1])


class Branches(nn.Module):
    """Two networks side by side, one with gradients a hundred times as large as the other's."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64)) for _ in range(2))

    def forward(self, x):
        large, small = (branch(x).square().mean() for branch in self.branches)
        return large + 0.01 * small


def relative_noise(model, x, objective):
    """Noise of each parameter relative to its own gradient, averaged over elements, after a measurement."""
    c = gact.Compressor(model, bits=3, min_bytes=0, seed=1, objective=objective)
    plain = torch.autograd.grad(model(x), list(model.parameters()))
    for _ in range(2):
        with c:
            loss = model(x)
        c.backward(loss)
        model.zero_grad()
    total, trials = 0.0, 16
    for _ in range(trials):
        with c:
            loss = model(x)
        loss.backward()
        pairs = zip(model.parameters(), plain, strict=True)
        total += sum(float((p.grad - g).square().sum() / g.square().sum()) * g.numel() for p, g in pairs) / trials
        model.zero_grad()
    return total / sum(g.numel() for g in plain)


def test_the_noise_in_each_parameters_own_gradient_becomes_less():
    torch.manual_seed(0)
    model, x = Branches(), torch.randn(512, 64)
    assert relative_noise(model, x, "update") < 0.7 * relative_noise(model, x, "gradient")


def test_others_are_refused():
    with pytest.raises(ValueError, match="objective must be one of 'gradient', 'update', got 'adam'"):
        gact.Compressor(objective="adam")

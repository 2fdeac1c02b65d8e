"""Backwards that take differences of what they saved, or multiply what is left of a saturated function."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds, mlp
from torch import nn
from torch.utils.checkpoint import checkpoint

import gact

KINDS = Kinds()


@KINDS.of(0.3, 0.03, 0.003)
def squared_error_near_its_optimum(residual):
    model, x = mlp(32, 64, 64), torch.randn(64, 32)
    y = model(x).detach() + residual * torch.randn(64, 64)
    return model, lambda: F.mse_loss(model(x), y)


@KINDS.of(10.0, 100.0)
def variance_of_channels_far_from_zero(offset):
    model, x = nn.Linear(32, 48), torch.randn(128, 32)
    model.bias.data += offset * torch.randn(48)
    return model, lambda: F.relu(1.5 - model(x).var(0).add(1e-4).sqrt()).mean() + model(x).std(0).square().sum()


@KINDS.of(30.0)
def deviation_of_rows_far_from_zero(offset):
    model, x = nn.Linear(32, 48), torch.randn(128, 32)
    far = offset * torch.randn(128, 1)
    return model, lambda: torch.std_mean(model(x) + far, 1)[0].square().sum()


@KINDS.of(10.0, 100.0)
def frozen_batch_norm_far_from_zero(offset):
    model, x = (
        nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 4, 3)),
        torch.randn(8, 3, 10, 10),
    )
    model[0].bias.data += offset * torch.randn(12)
    model[1].running_mean.copy_(model[0].bias.data)
    model.eval()
    return model, lambda: model(x).square().mean()


class WrittenGelu(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1.0 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * torch.pow(x, 3.0))))


@KINDS.of(1.0, 5.0, 20.0)
def gelu_written_out(size):
    model, x = mlp(32, 64, 8, act=WrittenGelu), torch.randn(128, 32)
    model[0].weight.data *= size
    return model, lambda: model(x).tanh().square().sum()


@KINDS.of(torch.tanh, torch.sigmoid)
def saturated(function):
    model, x = mlp(32, 64, 8), torch.randn(128, 32)
    model[0].weight.data *= 20
    return model, lambda: model[2](function(model[0](x))).square().sum()


@KINDS.of(4.0, 10.0)
def exponentials_of_many_magnitudes(size):
    model, x = nn.Linear(32, 64), torch.randn(128, 32)
    return model, lambda: torch.log(1 + torch.exp(size * model(x))).sum()


@KINDS.of(2, 4)
def batch_norm_of_few(pixels):
    model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 4, 1))
    x = torch.randn(2, 3, pixels, pixels)
    return model, lambda: model(x).square().mean()


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name)


class Router(nn.Module):
    """Sends each row to the two experts that its scores are highest for."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(16, 4)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))
        self.chosen = []

    def forward(self, x):
        weights, places = self.score(x).softmax(-1).topk(2, -1)
        self.chosen.append(places.clone())
        mixed = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows, columns = torch.where(places == number)
            mixed = mixed.index_add(0, rows, expert(x[rows]) * weights[rows, columns, None])
        return mixed


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_router_decides_the_same_again(reentrant):
    model, x = nn.ModuleList(Router() for _ in range(2)), torch.randn(256, 16)
    c = gact.Compressor(model, bits=4, min_bytes=0, adaptive=False)
    for _ in range(3):
        for each in model:
            each.chosen.clear()
        with c:
            h = x.clone().requires_grad_()
            for each in model:
                h = h + checkpoint(each, h, use_reentrant=reentrant)
            loss = h.square().mean()
        loss.backward()
        for each in model:
            first, again = each.chosen
            assert torch.equal(first, again)


@pytest.mark.parametrize("function", [torch.sin, torch.cos, torch.tanh, torch.sigmoid])
def test_second_derivatives_after_the_context(function):
    """What comes back of a slope lies on the right side of the extreme."""
    x = (3 * torch.randn(64, 64)).requires_grad_()

    def second(loss):
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    exact = second(function(x * 1).sum())
    with gact.Compressor(bits=8, min_bytes=0, adaptive=False):
        loss = function(x * 1).sum()
    assert (second(loss) - exact).square().sum() < 1e-2 * exact.square().sum()


@pytest.mark.parametrize("function", [torch.tanh, lambda x: torch.sigmoid(3 * x)], ids=["tanh", "sigmoid"])
def test_squares_of_rounded_values_are_right_on_average(function):
    """Along the gradient itself: a square that is too large by the variance would shorten it by 2e-3."""
    model, x, seeds = nn.Linear(32, 64), torch.randn(256, 32), 64

    def gradient():
        return torch.cat([each.flatten() for each in torch.autograd.grad(loss, model.parameters())]).double()

    loss = function(model(x)).sum()
    exact, found = gradient(), []
    for seed in range(seeds):
        with gact.Compressor(model, bits=4, min_bytes=0, adaptive=False, seed=seed):
            loss = function(model(x)).sum()
        found.append((gradient() - exact) @ exact / (exact @ exact))
    shares = torch.stack(found)
    assert shares.mean().abs() < 4 * shares.std() / seeds**0.5

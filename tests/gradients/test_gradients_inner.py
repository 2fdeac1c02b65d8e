"""Losses that contain gradients: from the second step on, what an inner backward reads is exact, and so is the loss."""

from contextlib import nullcontext

import pytest
import torch
from kinds import Kinds, mlp
from measure import LIMIT, ROUNDS, broken, compressor, kind_fault, reference
from measure import network_gradient as gradient_of
from torch import nn

KINDS = Kinds()


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(2 * x)


def inner(value, of):
    """A gradient that can be differentiated."""
    return torch.autograd.grad(value.sum(), of, create_graph=True)[0]


@KINDS.of(Sine, nn.Tanh, nn.SiLU, nn.GELU, nn.Softplus)
def physics(act):
    """The heat equation's residual, with second derivatives."""
    model, x = mlp(2, 64, 64, 1, act=act), torch.rand(128, 2)

    def loss():
        at = x.clone().requires_grad_()
        u = model(at)
        first = inner(u, at)
        second = inner(first[:, :1], at)[:, :1]
        return (first[:, 1:] - 0.1 * second - torch.sin(3 * x[:, :1])).square().mean() + u[:16].square().mean()

    return model, loss


@KINDS
def forces():
    """Labels a little off what the network says, so that the loss is small."""
    model, x = mlp(3, 64, 64, 1, act=nn.Tanh), torch.randn(128, 3)

    def force():
        at = x.clone().requires_grad_()
        return inner(model(at), at)

    labels = force().detach() * 1.02
    return model, lambda: (force() - labels).square().mean()


@KINDS
def pair_energies():
    """Forces through distances between atoms."""
    model, places = mlp(1, 64, 1, act=nn.SiLU), torch.randn(10, 3)

    def loss():
        at = places.clone().requires_grad_()
        gaps = (at[:, None] - at[None])[torch.triu_indices(10, 10, 1).unbind()].norm(dim=-1, keepdim=True)
        return (inner(model(gaps), at) - 0.1).square().mean()

    return model, loss


@KINDS.of(nn.ReLU, nn.LeakyReLU, nn.ELU)
def gradient_penalty(act):
    model, real, fake = mlp(32, 64, 64, 1, act=act), torch.randn(64, 32), torch.randn(64, 32)

    def loss():
        between = (0.3 * real + 0.7 * fake).requires_grad_()
        slope = inner(model(between), between).norm(dim=-1)
        return model(fake).mean() - model(real).mean() + 10 * (slope - 1).square().mean()

    return model, loss


@KINDS
def penalty_of_a_convolutional_critic():
    model, x = (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3, 2), nn.SiLU()),
        torch.randn(4, 3, 14, 14),
    )
    model.extend([nn.GroupNorm(2, 8), nn.Flatten(), nn.LazyLinear(1)])
    model(x)

    def loss():
        at = x.clone().requires_grad_()
        return model(at).mean() + inner(model(at), at).flatten(1).norm(dim=1).sub(1).square().mean()

    return model, loss


@KINDS
def one_inner_step():
    """MAML: the loss after one step of gradient descent."""
    model, x, y = mlp(8, 64, 64, 4, act=nn.Tanh), torch.randn(2, 64, 8), torch.randn(2, 64, 4)

    def loss():
        weights = dict(model.named_parameters())
        first = (model(x[0]) - y[0]).square().mean()
        steps = torch.autograd.grad(first, list(weights.values()), create_graph=True)
        moved = {name: weight - 0.1 * step for (name, weight), step in zip(weights.items(), steps, strict=True)}
        return (torch.func.functional_call(model, moved, x[1]) - y[1]).square().mean()

    return model, loss


@KINDS
def penalty_on_the_weights_gradient():
    model, x, y = mlp(16, 64, 4), torch.randn(64, 16), torch.arange(64) % 4

    def loss():
        value = nn.functional.cross_entropy(model(x), y)
        grads = torch.autograd.grad(value, list(model.parameters()), create_graph=True)
        return value + 0.1 * sum(grad.square().sum() for grad in grads)

    return model, loss


@pytest.mark.parametrize("bits", LIMIT)
@pytest.mark.parametrize("name", KINDS)
def test_inner_gradients(name, bits):
    torch.manual_seed(0)
    model, loss = KINDS[name]()
    values = []

    def noted():
        values.append(loss())
        return values[-1]

    gradient = gradient_of(model, noted)
    g0, fault = reference(gradient)
    assert not fault
    plain, context = float(values.pop()), compressor(model, bits)
    values.clear()
    first = gradient(context)
    assert not broken(first, g0)
    values.clear()

    def step():
        found = gradient(context)
        values[:] = [float(value) for value in values]
        return found

    fault = kind_fault(step, g0, bits)
    assert len(values) >= ROUNDS[bits]
    shift = max(abs(value - plain) for value in values) / abs(plain)
    assert shift <= 1e-6, f"the loss is off by {shift:.1e} of it; gradients: {fault or 'right'}"
    assert not fault


def test_plain_values_repeat():
    """What the test above compares is the same in each plain run."""
    for name, make in KINDS.items():
        torch.manual_seed(0)
        model, loss = make()
        with nullcontext():
            assert float(loss()) == float(loss()), name
        assert any(parameter.requires_grad for parameter in model.parameters())

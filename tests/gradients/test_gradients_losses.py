"""Losses that divide by a probability or read an exponential of what they saved, of logits far from zero."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds, mlp
from torch import nn

KINDS = Kinds()


def wide(model, size=50.0):
    """A network whose results reach about ``size``."""
    model[-1].weight.data *= size / 2
    return model


@KINDS.of(*((t, s) for t in (False, True) for s in (1.0, 20.0)))
def divergence_whose_target_learns(log_target, size):
    model, x = mlp(32, 64, 300), torch.randn(64, 32)
    model[2].weight.data *= size
    other, turn = x + 0.1 * torch.randn_like(x), F.log_softmax if log_target else F.softmax
    return model, lambda: F.kl_div(
        F.log_softmax(model(other), 1), turn(model(x), 1), reduction="batchmean", log_target=log_target
    )


@KINDS.of(False, True)
def distillation(log_target):
    model, x, teacher = mlp(32, 64, 300), torch.randn(64, 32), torch.randn(64, 300).mul(4).log_softmax(1)
    target = teacher if log_target else teacher.exp()
    return model, lambda: F.kl_div(F.log_softmax(model(x) / 2, 1), target, reduction="batchmean", log_target=log_target)


@KINDS.of(1.0, 10.0)
def binary_cross_entropy(size):
    model, x, y = wide(mlp(32, 64, 20), size), torch.randn(64, 32), (torch.rand(64, 20) < 0.5).float()
    return model, lambda: F.binary_cross_entropy(torch.sigmoid(model(x)), y)


@KINDS.of(1.0, 50.0)
def binary_cross_entropy_with_logits(size):
    model, x, y = wide(mlp(32, 64, 20), size), torch.randn(64, 32), (torch.rand(64, 20) < 0.5).float()
    weight = torch.rand(20) + 0.5
    return model, lambda: F.binary_cross_entropy_with_logits(model(x), y, pos_weight=weight)


@KINDS
def logits_that_are_right_and_sure():
    """All gradients of the confident elements are exponentially small; a few wrong ones decide."""
    model, x = wide(mlp(32, 64, 20)), torch.randn(64, 32)
    y = (model(x) > 0).float().detach()
    y[0] = 1 - y[0]
    return model, lambda: F.binary_cross_entropy_with_logits(model(x), y)


@KINDS.of(1.0, 50.0)
def logsigmoid(size):
    model, x = wide(mlp(32, 64, 20), size), torch.randn(64, 32)
    return model, lambda: -F.logsigmoid(model(x)).mean()


@KINDS.of(1.0, 50.0)
def softplus(size):
    model, x = wide(mlp(32, 64, 20), size), torch.randn(64, 32)
    return model, lambda: F.softplus(model(x)).mean()


@KINDS.of(1.0, 50.0)
def multilabel_soft_margin(size):
    model, x, y = wide(mlp(32, 64, 20), size), torch.randn(64, 32), (torch.rand(64, 20) < 0.3).float()
    return model, lambda: F.multilabel_soft_margin_loss(model(x), y)


@KINDS.of(1.0, 50.0)
def soft_margin(size):
    model, x, y = wide(mlp(32, 64, 20), size), torch.randn(64, 32), torch.randn(64, 20).sign()
    return model, lambda: F.soft_margin_loss(model(x), y)


@KINDS.of((0.0, 1.0), (1e-8, 1.0))
def log_of_softmax(added, size):
    model, x = wide(mlp(32, 64, 100), size), torch.randn(64, 32)
    y = torch.randint(0, 100, (64, 1))
    return model, lambda: -torch.log(torch.softmax(model(x), -1) + added).gather(1, y).mean()


@KINDS.of(*((e, s) for e in (0.0, 1e-8) for s in (1.0, 8.0)))
def log_of_sigmoid(added, size):
    model, x = wide(mlp(32, 64, 20), size), torch.randn(64, 32)
    return model, lambda: -torch.log(torch.sigmoid(model(x)) + added).mean()


@KINDS
def focal():
    model, x, y = wide(mlp(32, 64, 20), 8.0), torch.randn(64, 32), (torch.rand(64, 20) < 0.5).float()

    def loss():
        entropy = F.binary_cross_entropy_with_logits(model(x), y, reduction="none")
        return ((1 - torch.exp(-entropy)) ** 2 * entropy).mean()

    return model, loss


@KINDS
def entropy_of_a_policy():
    model, x = wide(mlp(32, 64, 40), 8.0), torch.randn(64, 32)

    def loss():
        policy = torch.distributions.Categorical(logits=model(x))
        return policy.log_prob(torch.arange(64) % 40).mean() - 0.01 * policy.entropy().mean()

    return model, loss


@KINDS
def negative_likelihood_of_a_normal():
    model, x, y = mlp(32, 64, 40), torch.randn(64, 32), torch.randn(64, 20)

    def loss():
        mean, deviation = model(x).chunk(2, -1)
        return -torch.distributions.Normal(mean, torch.exp(4 * deviation)).log_prob(y).mean()

    return model, loss


@KINDS
def functions_with_poles():
    model, x = mlp(64, 64, 64), torch.randn(128, 64)

    def loss():
        torch.manual_seed(3)
        h = model(x)
        b = torch.distributions.Beta(F.softplus(3 * h) + 0.05, F.softplus(-3 * h) + 0.05).rsample()
        return torch.special.ndtri(torch.sigmoid(4 * h) * 0.98 + 0.01).mean() + b.mean()

    return model, loss


@KINDS.of(torch.distributions.Gamma, torch.distributions.Chi2)
def samples(distribution):
    model, x = mlp(32, 64, 64), torch.randn(64, 32)

    def loss():
        size = F.softplus(3 * model(x)) + 0.1
        made = distribution(size, size) if distribution is torch.distributions.Gamma else distribution(size)
        return made.rsample().tanh().mean()

    return model, loss


@KINDS
def distances():
    """Divided by distances, some of which are nearly zero."""
    model, x = mlp(32, 64, 16), torch.randn(64, 32)
    x[1] = x[0] + 1e-3
    return model, lambda: torch.pdist(model(x)).sqrt().mean() + torch.cdist(model(x), torch.zeros(4, 16)).mean()


@KINDS
def cosine_embedding():
    model, x, y = mlp(32, 64, 16), torch.randn(64, 32), torch.randn(32).sign()
    return model, lambda: F.cosine_embedding_loss(model(x)[:32], model(x)[32:], y)


@KINDS.of(nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.MSELoss, nn.PoissonNLLLoss)
def regression(loss_of):
    model, x, y = mlp(32, 64, 16), torch.randn(64, 32), torch.rand(64, 16)
    return model, lambda: loss_of()(model(x), y)


@pytest.mark.parametrize("name", KINDS)
def test_losses(name):
    KINDS.check(name)

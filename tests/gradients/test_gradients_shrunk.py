"""Results that are small beside what they are made of: made again of rounded sources they would be all rounding."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds
from torch import nn

KINDS = Kinds()
ROWS, WIDTH = 256, 64


def layers():
    return nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3)), torch.randn(ROWS, WIDTH)


def outliers(size, share=0.02):
    return (torch.rand(ROWS, WIDTH) < share) * size


@KINDS
def difference_of_two_that_are_nearly_the_same():
    model, x = layers()

    def loss():
        one = model[0](x)
        other = one + 0.01 * model[1](x)
        read = model[1](one).square().mean() + model[2](other).square().mean()
        return read + (model[2](50 * (one - other)) * x).mean()

    return model, loss


@KINDS.of((torch.sub, 1e3), (torch.sub, 1e5), (torch.add, 1e3))
def cancelling_in_all_rows_but_a_loud_one(function, loudness):
    """Each row counts alike behind a norm."""
    model, x = layers()
    loud = torch.full((ROWS, 1), 0.1)
    loud[5] = loudness

    def loss():
        one = model[0](x)
        h = one.detach() * 1e3
        near = h + model[0](x) * loud
        read = ((model[1](near) + model[1](h)) * x).mean() * 1e-6
        difference = function(near, h, alpha=-1 if function is torch.add else 1)
        return read + (F.layer_norm(model[2](difference), (WIDTH,), eps=1e-12) * x).mean()

    return model, loss


@KINDS.of(
    (torch.tanh, 1e3), (torch.sigmoid, -1e6), (F.hardtanh, 1e3), (F.hardsigmoid, 1e3), (F.relu6, 1e3), (F.relu, -1e3)
)
def bounded_function_of_outliers(function, size):
    model, x = layers()
    added = outliers(size)

    def loss():
        h = model[0](x) + added
        return (model[1](h) / size).square().mean() + (model[2](function(h)) * x).mean()

    return model, loss


@KINDS.of(F.relu_)
def result_in_the_memory_of_outliers(function):
    model, x = layers()
    added = outliers(-1e3)

    def loss():
        h = model[0](x) + added
        read = (h * x).square().mean() * 1e-6  # multiplied again, of what is held of h
        return read + (model[2](function(h + 1.0)) * x).mean()

    return model, loss


@KINDS.of(torch.tanh, torch.sigmoid)
def steep_function_of_what_another_reads(function):
    model, x = layers()

    def loss():
        h = model[0](x)
        return model[1](h).square().mean() + model[2](function(50 * h)).square().mean()

    return model, loss


@KINDS
def elements_beside_outliers():
    model, x = layers()
    far = torch.zeros(ROWS, WIDTH)
    far[:, 3] = 1e4 * torch.randn(ROWS)
    others = torch.arange(4, 4 + 32)

    def loss():
        h = model[0](x) + far
        return (model[1](h) / 1e4).square().mean() + (F.pad(h[:, others], (0, 32)) * model[2](x)).square().mean()

    return model, loss


@KINDS
def groups_of_few_taken_from_other_places():
    """Their norm has 8 bits where it is held itself."""
    model, x = layers()

    def loss():
        h = model[0](x)
        normed = F.group_norm(h.flip(0).view(ROWS, 8, 8), 8).flatten(1)
        return model[1](h).square().mean() + (normed * x).mean()

    return model, loss


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name)

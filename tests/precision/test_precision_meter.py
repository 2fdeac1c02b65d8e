"""The variance of the gradient from batch to batch, which the noise is held against."""

import pytest
import torch
from torch import nn

import gact
from training import compressor, gradient, square, step


def network():
    return nn.Sequential(nn.Linear(32, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 8))


def test_the_variance_is_that_of_the_batches():
    model = network()
    told, gradients = [], []
    for seed in range(20):
        c = compressor(model, bits=8, seed=seed)
        for _ in range(3):
            model.zero_grad()
            step(c, model, torch.randn(64, 32))
            gradients.append(gradient(model))
        told.append(c.report().batch_variance)
    batches = torch.stack(gradients)
    expected = batches.var(0).sum() / batches.square().sum(1).mean()
    assert sum(told) / len(told) == pytest.approx(float(expected), rel=0.2)


def test_equal_batches_have_no_variance():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model, bits=8)
    for _ in range(3):
        model.zero_grad()
        step(c, model, x)
    assert c.report().batch_variance < 1e-3


@pytest.mark.filterwarnings("ignore:.*matched no saved tensor")
def test_a_loss_of_other_parameters_is_not_compared():
    model, other = network(), network()
    # Sites of fixed width are not unknown, so that the other loss calls for no measurement of its own.
    c = compressor(nn.ModuleList([model, other]), bits=8, rules=[gact.Rule(module="1.*", bits=8)])
    for _ in range(2):
        step(c, model, torch.randn(64, 32))
    for _ in range(3):
        step(c, other, torch.randn(64, 32))
        assert c.report().batch_variance is None
    step(c, model, torch.randn(64, 32))
    assert c.report().batch_variance > 0


def test_reading_the_next_gradient_changes_nothing():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model, probe_interval=1000)
    for _ in range(2):
        step(c, model, x)
    assert c._controller.snapshot is not None
    model.zero_grad()
    with c:
        loss = square(model, x)
    expected = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    c.backward(loss)
    assert all(torch.equal(p.grad, e) for p, e in zip(model.parameters(), expected, strict=True))
    assert c._controller.snapshot is None


@pytest.mark.parametrize("scale", [2.0**-12, 0.5, 2.0, 2.0**16])
def test_the_scale_of_the_loss_may_change_in_between(scale):
    def variance(scales):
        torch.manual_seed(0)
        model = network()
        c = compressor(model, bits=8)
        for each in scales:
            step(c, model, torch.randn(64, 32), lambda model, x, each=each: square(model, x) * each)
        return c.report().batch_variance

    assert variance([1.0, 1.0, scale]) == pytest.approx(variance([1.0, 1.0, 1.0]), rel=1e-3)


def test_a_step_that_overflows_is_not_compared():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model, bits=8, probe_interval=1000)
    for _ in range(2):
        step(c, model, x)
    step(c, model, x, lambda model, x: square(model, x) * torch.inf)
    assert c.report().batch_variance is None
    step(c, model, torch.randn(64, 32), lambda model, x: square(model, x) * 2.0**-16)
    assert 0 < c.report().batch_variance < 1


def test_what_is_kept_of_a_gradient_is_small():
    model = nn.Sequential(nn.Linear(512, 1024), nn.Tanh(), nn.Linear(1024, 512))
    c = compressor(model)
    for _ in range(2):
        step(c, model, torch.randn(64, 512))
    kept = [each for each in c._controller.snapshot._read if each is not None]
    assert len(kept) == 4
    assert all(each.numel() < 2**13 for each in kept)
    assert all(each.untyped_storage().nbytes() == each.nbytes for each in kept)

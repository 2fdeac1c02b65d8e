"""Steps that are to be measured and cannot be."""

import pytest
import torch
from torch import nn

import gact
from gact.precision import aside
from training import compressor, passes, square, step, widths


def network():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 8))


def test_forward_without_backward_never_makes_finer_codes():
    model, x = network(), torch.randn(64, 32).requires_grad_() * 1
    c = compressor(model, bits=2)
    for _ in range(10):
        with c:
            square(model, x.detach().requires_grad_() * 1)
        assert {row.bits for row in c.report().rows if row.codec == "groups"} == {2}
    assert passes(c) == 0


def test_an_exception_in_the_measured_forward_is_survived():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model)
    step(c, model, x)
    with pytest.raises(ZeroDivisionError), c:
        model(x)[0, 0].item() / 0
    step(c, model, x)
    assert len(widths(c)) > 1


class Failing(torch.autograd.Function):
    """Its backward fails in a measurement."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if gact.is_measuring():
            raise LookupError("its buffer is gone")
        return gradient


def test_a_backward_that_fails_gives_up_measuring_and_training_goes_on():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model)
    step(c, model, x)
    with c:
        loss = square(model, x)
        loss = loss + 0 * Failing.apply(model[0].weight).sum()
    with pytest.warns(UserWarning, match="could not measure sensitivities.*LookupError.*its buffer is gone"):
        c.backward(loss)
    assert torch.isfinite(model[0].weight.grad).all()
    before = passes(c)
    for _ in range(3):
        step(c, model, x)
    assert passes(c) == before


def test_a_measurement_that_cannot_begin_leaves_the_step_as_it_is(monkeypatch):
    def fail(tensors):
        raise MemoryError("no room for copies")

    model, x = network(), torch.randn(64, 32)
    c = compressor(model)
    step(c, model, x)
    monkeypatch.setattr(aside, "_retained_gradients", fail)
    with pytest.warns(UserWarning, match="could not measure sensitivities.*MemoryError: no room for copies"):
        step(c, model, x)
    assert torch.isfinite(model[0].weight.grad).all()

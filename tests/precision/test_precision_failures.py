"""Steps that are to be measured and cannot be."""

import pytest
import torch
from torch import nn

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


class Once(torch.autograd.Function):
    """Its backward cannot be run twice."""

    @staticmethod
    def forward(ctx, x):
        ctx.runs = 0
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.runs += 1
        if ctx.runs > 1:
            raise LookupError("its buffer is gone")
        return gradient


def test_a_backward_that_works_only_once_gives_up_measuring():
    # The base pass of the measurement has used it up, as it would have for a second backward of the user's.
    model, x = network(), torch.randn(64, 32)
    c = compressor(model)
    step(c, model, x)
    with c:
        loss = square(model, x)
        loss = loss + 0 * Once.apply(model[0].weight).sum()
    told = pytest.warns(UserWarning, match="could not measure sensitivities.*LookupError.*its buffer is gone")
    with told, pytest.raises(LookupError):
        c.backward(loss)
    before = passes(c)
    for _ in range(3):
        step(c, model, x)
    assert passes(c) == before

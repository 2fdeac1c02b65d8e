"""NaN and infinity in, a stated result out: kept exactly, never turned into finite numbers."""

import math

import pytest
import torch
from torch import nn

import gact
from references.groups import rounding, scales
from saved import roundtrip

pytestmark = pytest.mark.filterwarnings("ignore:gact compressed nothing")
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("at", [0, 255, 256, 999])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_tensor_with_a_value_that_is_not_finite_is_kept_exactly(dtype, value, at, bits):
    x = torch.randn(1000).to(dtype)
    x[at] = value
    c = gact.Compressor(bits=bits, min_bytes=0)
    got = roundtrip(c, x)
    assert torch.equal(got.nan_to_num(7), x.nan_to_num(7))
    assert torch.equal(got.isnan(), x.isnan())
    assert c.report().rows[0].reason == "not finite"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_tensor_of_nothing_else(value):
    x = torch.full((1000,), value)
    got = roundtrip(gact.Compressor(min_bytes=0), x)
    assert torch.equal(got.isnan(), x.isnan())
    assert torch.equal(got.isinf(), x.isinf())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_values_near_the_limits_of_a_dtype_do_not_become_infinite(dtype):
    largest = torch.finfo(dtype).max
    x = torch.linspace(-1, 1, 1000, dtype=torch.float64).mul(largest).to(dtype)
    for bits in (1, 4, 8):
        got = roundtrip(gact.Compressor(bits=bits, min_bytes=0), x)
        assert got.isfinite().all()
        assert ((got.double() - x.double()).abs() <= 2.0 * largest / (2**bits - 1) * 1.02).all()


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-38, 2.0**-126, 1e-30])
def test_the_smallest_values_do_not_become_infinite_or_nan(size):
    x = torch.randn(1000) * size
    got = roundtrip(gact.Compressor(bits=4, min_bytes=0), x)
    assert ((got.double() - x.double()).abs() <= scales(x, 4, 256) + rounding(x)).all()


def test_a_mask_of_values_that_are_not_finite():
    x = torch.randn(64, 64, requires_grad=True)
    special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, -1e-45, 1.0])
    (exact,) = torch.autograd.grad((x * 0 + special.repeat(64, 8)).relu().sum(), x)
    with gact.Compressor(bits=4, min_bytes=0):
        output = (x * 0 + special.repeat(64, 8)).relu()
    (got,) = torch.autograd.grad(output.sum(), x)
    assert torch.equal(got.isnan(), exact.isnan())
    assert torch.equal(got.nan_to_num(), exact.nan_to_num())


class Diverging(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x):
        return self.second((self.first(x) * 1e38).exp()).square().mean()


def test_a_network_that_overflows_has_gradients_that_are_not_finite():
    model, x = Diverging(), torch.randn(64, 32)
    model(x).backward()
    exact = [parameter.grad.isfinite() for parameter in model.parameters()]
    assert not any(part.all() for part in exact)
    model.zero_grad()
    with gact.Compressor(model, bits=4, min_bytes=0):
        loss = model(x)
    loss.backward()
    for parameter, finite in zip(model.parameters(), exact, strict=True):
        assert not (parameter.grad.isfinite() & ~finite).any()


def test_a_gradient_scaler_sees_the_overflow():
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32)), torch.randn(64, 32)
    optimizer, before = torch.optim.SGD(model.parameters(), 0.1), nn.Linear(32, 32).weight
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    with gact.Compressor(model, min_bytes=0):
        loss = model(x).mul(1e10).square().mean()
    scaler.scale(loss).backward()
    before = model[0].weight.detach().clone()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(model[0].weight, before)
    assert scaler.get_scale() < 2.0**120

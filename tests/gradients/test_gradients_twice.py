"""A factor that one path of backward reads twice, before and after a function that turns."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact

WIDTH, SEEDS = 64, 6
FORMS = {
    "swish": lambda h, v: h * torch.sigmoid(v * h),
    "the other way round": lambda h, v: torch.sigmoid(h * v) * h,
    "half of it": lambda h, v: 0.5 * h * torch.sigmoid(v * h),
    "shifted": lambda h, v: (h + 1) * torch.sigmoid(v * h),
    "tanh": lambda h, v: h * torch.tanh(v * h),
    "erf": lambda h, v: h * (1 + torch.erf(v * h)),
    "a quotient": lambda h, v: h / (1 + torch.exp(-v * h)),
    "softplus": lambda h, v: h * (1 + F.softplus(v * h)).rsqrt(),
    "a curve": lambda h, v: h * torch.exp(-v * h**2),
    "one op": lambda h, v: torch.addcmul(h, h, torch.sigmoid(v * h)),
    "acon": lambda h, v: acon(v * h, v) + h,
    "made twice": lambda h, v: (v * h) * torch.sigmoid((1 + v) * (v * h)) + h,
}
WRITTEN_OUT = {
    "silu": lambda h, w: h * torch.sigmoid(h),
    "a gate": lambda h, w: h * torch.sigmoid(h @ w),
    "a constant slope": lambda h, w: h * torch.sigmoid(1.702 * h),
    "gelu": lambda h, w: 0.5 * h * (1 + torch.tanh(0.797885 * (h + 0.044715 * h * h * h))),
    "fast gelu": lambda h, w: 0.5 * h * (1 + torch.tanh(h * 0.797885 * (1 + 0.044715 * h * h))),
}


def acon(h, v):
    return h * torch.sigmoid((1 + v) * h)


def of_slopes(form, size):
    """A model whose slopes learn, and its loss."""
    torch.manual_seed(0)
    model = nn.ParameterDict({"weight": torch.randn(WIDTH, WIDTH) * size / WIDTH**0.5, "slope": torch.ones(WIDTH)})
    x, weights = torch.randn(2048, WIDTH), torch.rand(2048, WIDTH) + 0.5
    return model, lambda: (form(x @ model["weight"], model["slope"]) * weights).mean()


def gradient_of(model, loss, context=None):
    model.zero_grad()
    if context is None:
        value = loss()
    else:
        with context:
            value = loss()
    value.backward()
    return model["slope"].grad.clone()


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("size", [2.0, 10.0])
@pytest.mark.parametrize("name", FORMS)
def test_the_gradient_of_a_slope_is_right_on_average(name, size, bits):
    """In the first step, and in the next, which knows what is read twice."""
    model, loss = of_slopes(FORMS[name], size)
    exact = gradient_of(model, loss)
    found = []
    for seed in range(SEEDS):
        compressor = gact.Compressor(model, bits=bits, seed=seed, adaptive=False, min_bytes=0)
        found.append(torch.stack([gradient_of(model, loss, compressor) for _ in range(2)]))
    steps = torch.stack(found)
    along = (steps.mean(0) @ exact) / exact.square().sum()
    noise = (steps - exact).square().sum(-1).mean(0) / exact.square().sum()
    off = (along - 1).abs()
    assert off[0] < {8: 0.01, 4: 0.02, 2: 0.25}[bits], along
    assert off[1] < 0.02, along
    assert noise[0] < {8: 1e-3, 4: 1e-2, 2: 0.15}[bits], noise
    assert noise[1] < 1e-2, noise


@pytest.mark.parametrize("bits", [4, 2])
@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_what_is_read_once_keeps_its_codes(name, bits):
    torch.manual_seed(0)
    model, x, w = nn.Linear(WIDTH, WIDTH), torch.randn(512, WIDTH), nn.Parameter(torch.randn(WIDTH, WIDTH) / 8)
    compressor = gact.Compressor(model, bits=bits, adaptive=False, min_bytes=0)
    for _ in range(2):
        with compressor:
            loss = WRITTEN_OUT[name](6 * model(x), w).square().mean()
        loss.backward()
    widths = [row.bits for row in compressor.report().rows if row.codec == "groups" and row.op in ("mul", "sigmoid")]
    assert widths
    assert max(widths) <= bits

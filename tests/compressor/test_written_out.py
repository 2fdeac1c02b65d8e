"""GELU written out with powers and a hyperbolic tangent is held once: its argument, of which the rest is made again."""

from __future__ import annotations

import math

import pytest
import torch

import gact

ROWS, WIDTH = 256, 64


def gelu(x):
    return (1.0 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0)))) * x


def gradient(scale, function, seed=None, bits=4):
    x = (torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0)) * scale).requires_grad_()
    weights = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))
    if seed is None:
        value = (function(x * 1.0) * weights).sum()
    else:
        with gact.Compressor(bits=bits, adaptive=False, min_bytes=0, seed=seed):
            value = (function(x * 1.0) * weights).sum()
    return torch.autograd.grad(value, x)[0]


def test_one_code_serves_all():
    x = torch.randn(ROWS, WIDTH, requires_grad=True)
    with gact.Compressor(bits=4, adaptive=False, min_bytes=0) as compressor:
        _alive = gelu(x * 1.0)
    rows = {(row.op, row.slot): row.codec for row in compressor.report().rows}
    assert rows["tanh", 0] == "derived"
    assert compressor.report().kept_bytes < 1.1 * x.numel()


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("bits", [2, 4])
def test_its_gradient_is_right_on_average(scale, bits):
    exact = gradient(scale, gelu)
    found = torch.stack([gradient(scale, gelu, seed, bits) for seed in range(32)])
    one = (found[0] - exact).norm() / exact.norm()
    mean = (found.mean(0) - exact).norm() / exact.norm()
    assert one < 0.05
    assert mean < 0.4 * one


@pytest.mark.parametrize("function", [torch.tanh, torch.sigmoid])
@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_a_slope_is_not_made_of_narrow_codes(function, scale):
    """The square that it reads is not linear in what they hold."""

    def both(x):
        return function(x) + x * x.detach()

    exact = gradient(scale, both)
    found = torch.stack([gradient(scale, both, seed) for seed in range(64)])
    deviation = float(found.var(0).sum().sqrt())
    assert float((found.mean(0) - exact).norm()) < 1.3 * deviation / 8 + 2e-3 * float(exact.norm())


@pytest.mark.parametrize("exponent", [2, 3.0, 4])
def test_powers_of_narrow_codes_are_right_on_average(exponent):
    factor = torch.ones(ROWS, WIDTH, requires_grad=True)

    def of(seed=None):
        x = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
        compressor = gact.Compressor(bits=4, adaptive=False, min_bytes=0, seed=seed or 0, enabled=seed is not None)
        with compressor:
            h = x * 1.0
            first = h * factor.detach()[:1]
            value = (first.sum() * 0) + (h.pow(exponent) * factor).sum()
        return torch.autograd.grad(value, factor)[0]

    exact, found = of(), torch.stack([of(seed) for seed in range(64)])
    deviation = float(found.var(0).sum().sqrt())
    assert float((found.mean(0) - exact).norm()) < 1.3 * deviation / 8 + 1e-2 * float(exact.norm())


def halved_first(x):
    """As in transformers: a part is computed before anybody has saved the argument."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def test_a_multiple_made_before_its_source_was_held():
    x = torch.randn(ROWS, WIDTH, requires_grad=True)
    with gact.Compressor(bits=4, adaptive=False, min_bytes=0) as compressor:
        y = torch.exp(x[:1])
        _alive = halved_first(x * 1.0), y
        assert compressor.report().kept_bytes < 1.2 * x.numel()


@pytest.mark.parametrize("bits", [2, 4])
def test_a_later_source_brings_its_roundings(bits):
    """The square of a half, taken when both are held by one narrow code."""
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(2))
    factor = torch.ones(ROWS, WIDTH, requires_grad=True)

    def of(seed=None):
        x = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
        with gact.Compressor(bits=bits, adaptive=False, min_bytes=0, seed=seed or 0, enabled=seed is not None):
            started = x[:2].exp().sum()
            h = x * 1.0
            half = h * 0.5
            other = h * torch.ones(WIDTH, requires_grad=True)
            kept = half * torch.ones(WIDTH, requires_grad=True)
            product = (half[order] * h + half * h) * factor
            value = product.sum() + 0 * (started + other.sum() + kept.sum())
        return torch.autograd.grad(value, factor)[0]

    exact, found = of(), torch.stack([of(seed) for seed in range(64)])
    deviation = float(found.var(0).sum().sqrt())
    assert float((found.mean(0) - exact).norm()) < 1.3 * deviation / 8 + 1e-2 * float(exact.norm())

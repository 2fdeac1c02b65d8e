"""Rows of which one value is a thousand times the others: at few bits their rounding is larger than they are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import gact

ROWS, WIDTH, LAYERS = 64, 576, 8


def fused(x):
    return F.rms_norm(x, (WIDTH,), eps=1e-6)


def written_out(x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def layer_norm(x):
    return F.layer_norm(x, (WIDTH,))


def gradients(norm, bits=None, seed=0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, WIDTH, generator=generator)
    x[::7, 5] = 1000.0
    weights = [(torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5).requires_grad_() for _ in range(LAYERS)]
    ones = torch.linspace(0.5, 1.5, WIDTH)

    def loss():
        h = x
        for weight in weights:
            h = h + norm(h) @ weight
        return (norm(h) * ones).sin().sum()

    if bits is None:
        value, report = loss(), None
    else:
        with gact.Compressor(bits=bits, adaptive=False, min_bytes=0, seed=seed) as compressor:
            value = loss()
        report = compressor.report()
    return torch.cat([each.flatten() for each in torch.autograd.grad(value, weights)]), report


@pytest.mark.parametrize("norm", [fused, written_out, layer_norm])
@pytest.mark.parametrize("bits", [2, 3])
def test_rounding_does_not_grow_from_layer_to_layer(norm, bits):
    exact, _ = gradients(norm)
    found, _ = gradients(norm, bits)
    assert float((found - exact).square().sum() / exact.square().sum()) < 2.0


def test_ordinary_rows_have_what_was_asked_for():
    x = torch.randn(ROWS, WIDTH, requires_grad=True)
    with gact.Compressor(bits=2, adaptive=False, min_bytes=0) as compressor:
        _alive = fused(x * 1.0)
    assert 2 in {row.bits for row in compressor.report().rows if row.op == "rms_norm"}


def test_a_rule_is_kept():
    x = torch.randn(ROWS, WIDTH, requires_grad=True)
    with gact.Compressor(bits=4, adaptive=False, min_bytes=0, rules=[gact.Rule(bits=2)]) as compressor:
        h = x * torch.cat([torch.full((1,), 1000.0), torch.ones(WIDTH - 1)])
        _alive = fused(h)
    assert 4 not in {row.bits for row in compressor.report().rows}


CHANGES = [lambda h: h, lambda h: h.half(), lambda h: h.bfloat16(), lambda h: h.t().contiguous().t()]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("norm", [fused, written_out])
def test_rows_of_every_dtype_and_layout_are_looked_at(norm, change):
    x = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    x[::7, 5] = 1000.0
    x.requires_grad_()
    with gact.Compressor(bits=2, adaptive=False, min_bytes=0) as compressor:
        _alive = norm(change(x * 1.0))
    assert min(row.bits for row in compressor.report().rows if row.codec == "groups") >= 3

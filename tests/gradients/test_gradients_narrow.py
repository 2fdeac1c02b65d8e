"""Factors of few columns whose rows are of many magnitudes: what is divided by their product makes all count alike."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import gact


def gradient(a, factor, bits=None):
    a = a.clone().requires_grad_()
    weights = torch.randn(a.shape, generator=torch.Generator().manual_seed(3))
    if bits is None:
        result = F.rms_norm(a * factor, a.shape[-1:])
    else:
        with gact.Compressor(bits=bits, adaptive=False, min_bytes=0):
            result = F.rms_norm(a * factor, a.shape[-1:])
    return torch.autograd.grad(result, a, weights)[0]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [1, 16])
@pytest.mark.parametrize("span", [2, 4])
def test_small_rows_keep_their_gradient(span, columns, bits):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3000, 16, generator=generator)
    order = torch.randperm(3000, generator=generator)
    factor = torch.logspace(-span, span, 3000)[order][:, None].repeat(1, columns)
    expected, found = gradient(a, factor), gradient(a, factor, bits)
    assert (found - expected).norm() < 0.1 * expected.norm()


def test_ordinary_factors_are_coded():
    x, factor = torch.randn(20_000, 16, requires_grad=True), torch.randn(20_000, 16)
    with gact.Compressor(bits=4, adaptive=False) as compressor:
        (x * 1) * factor
    (row,) = [row for row in compressor.report().rows if row.codec == "groups"]
    assert row.op == "mul"

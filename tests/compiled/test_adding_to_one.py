"""Compiled code: weights that add to one, times values that lie far from zero. What all values share cancels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact

BACKENDS = ("aot_eager", "aot_eager_decomp_partition")
OFFSETS = (0.0, 100.0, 1925.0)
SEEDS = 4


def shifted(logits):
    return logits - logits.amax(-1, keepdim=True).detach()


def by_sum(weights):
    return weights / weights.sum(-1, keepdim=True)


CODED = {
    "softmax": lambda logits: logits.softmax(-1),
    "columns": lambda logits: logits.mT.softmax(0).mT,
    "written out": lambda logits: by_sum((logits - logits.amax(-1, keepdim=True)).exp()),
    "never zero": lambda logits: shifted(logits).exp() / (shifted(logits).exp().sum(-1, keepdim=True) + 1e-9),
}
EXACT = {
    "logarithm": lambda logits: logits.log_softmax(-1).exp(),
    "difference": lambda logits: (logits - logits.logsumexp(-1, keepdim=True)).exp(),
    "by hand": lambda logits: (shifted(logits) - shifted(logits).exp().sum(-1, keepdim=True).log()).exp(),
    "reciprocal": lambda logits: shifted(logits).exp() * (1 / shifted(logits).exp().sum(-1, keepdim=True)),
}
NOISE = {8: 1e-3, 4: 0.2, 2: 3.0}
"""Least that is too much, of the square of the gradient."""


def gradients_of(way, backend, values=None):
    """What gives the gradient of an expected value without codes, and with codes of several seeds."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, x, target = nn.Linear(64, 101), torch.randn(256, 64), torch.rand(256) * 100
    values = torch.arange(101.0) if values is None else values

    @torch.compile(backend=backend)
    def loss(offset):
        return F.smooth_l1_loss((way(3 * model(x)) * (values + offset)).sum(-1), target + offset)

    def gradients(offset, bits):
        (expected,) = torch.autograd.grad(loss(torch.tensor(offset)), [model.weight])
        found = []
        for seed in range(SEEDS):
            with gact.Compressor(model, bits=bits, seed=seed, adaptive=False, min_bytes=0):
                value = loss(torch.tensor(offset))
            found += torch.autograd.grad(value, [model.weight])
        return expected, torch.stack(found)

    return gradients


def errors(expected, found):
    """Squared errors, in squares of the gradient: of one gradient, and of the mean of all."""
    size = expected.square().sum()
    noise = (found - expected).square().sum((1, 2)).mean() / size
    bias = (found.mean(0) - expected).square().sum() / size
    return float(noise), float(bias)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [*CODED, *EXACT])
def test_an_offset_of_values_is_no_noise(name, backend):
    gradients = gradients_of({**CODED, **EXACT}[name], backend)
    for bits, most in NOISE.items():
        near = None
        for offset in OFFSETS:
            noise, bias = errors(*gradients(offset, bits))
            near = noise if near is None else near
            assert noise < (1e-3 if name in EXACT else most), (bits, offset)
            assert noise < 1.05 * near + 1e-5, (bits, offset)
            assert bias < 2 * noise / SEEDS, (bits, offset)


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_of_each_row_are_not_multiplied_into_probabilities(backend):
    torch.manual_seed(1)
    gradients = gradients_of(CODED["softmax"], backend, torch.arange(101.0) + torch.randn(256, 101))
    near, far = (errors(*gradients(offset, 4))[0] for offset in (0.0, 1925.0))
    assert far < 1.05 * near < 0.2


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_that_do_not_add_to_one_are_left_as_they_are(backend):
    gradients = gradients_of(lambda x: x.sigmoid() / (x.sigmoid().sum(-1, keepdim=True) + 10), backend)
    noise, bias = errors(*gradients(0.0, 8))
    assert bias < 2 * noise / SEEDS < 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_keeps_its_codes(backend, masked):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, x = nn.Linear(64, 192), torch.randn(4, 64, 64)
    mask = torch.ones(64, 64, dtype=torch.bool).tril()

    def loss():
        q, k, v = model(x).view(4, 64, 4, 48).transpose(1, 2).chunk(3, -1)
        scores = q @ k.mT / 4
        weights = (scores.masked_fill(~mask, -torch.inf) if masked else scores).softmax(-1)
        return (F.dropout(weights, 0.1) @ v).square().mean()

    compiled = torch.compile(loss, backend=backend)
    compressor = gact.Compressor(model, bits=4, adaptive=False, min_bytes=0)
    with compressor:
        value = compiled()
    value.backward()
    rows = [row for row in compressor.report().rows if row.plain_bytes >= 4 * 4 * 64 * 64 * 4]
    assert rows
    assert all(row.codec != "keep" for row in rows)

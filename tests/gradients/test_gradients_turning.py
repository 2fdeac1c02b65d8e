"""Functions that turn within a few units, of arguments that lie much farther apart."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds
from torch import nn

import gact

KINDS = Kinds()
ROWS, WIDTH = 256, 64
WEIGHTS = torch.linspace(-1, 1, WIDTH)
FAR = torch.arange(ROWS * WIDTH).view(ROWS, WIDTH) % 37 == 0


def gated(x):
    return F.glu(torch.cat([x, x], 1))


FUNCTIONS = [F.gelu, F.silu, F.mish, F.softplus, F.elu, F.celu, torch.erf, torch.erfc, torch.atan, torch.asinh, gated]


def layers(factor=1.0):
    model = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
    with torch.no_grad():
        model[0].weight.mul_(factor)
    return model, torch.randn(ROWS, WIDTH)


@KINDS.of(*((function, far) for function in FUNCTIONS for far in (-1e4, 1e4)))
def far_values(function, far):
    """What was masked, and what one channel of a language model has; what comes of it is cut off."""
    model, x = layers()

    def loss():
        y = function(model[0](x).masked_fill(FAR, far)).clamp(-5, 5)
        return (model[1](y) * WEIGHTS).sin().mean()

    return model, loss


@KINDS.of(*((function, far) for function in FUNCTIONS[:3] for far in (-1e4, 1e4)))
def far_values_that_another_read_before(function, far):
    model, x = layers()

    def loss():
        h = model[0](x).masked_fill(FAR, far)
        read = (model[2](h) * 1e-5 * WEIGHTS).sin().mean()
        return read + (model[1](function(h).clamp(-5, 5)) * WEIGHTS).sin().mean()

    return model, loss


@KINDS.of(*((function, far) for function in FUNCTIONS[:3] for far in (-1e4, 1e4)))
def far_values_that_another_reads_later(function, far):
    model, x = layers()

    def loss():
        h = model[0](x).masked_fill(FAR, far)
        read = (model[1](function(h).clamp(-5, 5)) * WEIGHTS).sin().mean()
        return read + (model[2](h) * 1e-5 * WEIGHTS).sin().mean()

    return model, loss


@KINDS.of(torch.sinh, torch.cosh)
def growing_functions(function):
    model, x = layers(6.0)
    return model, lambda: (model[1](function(model[0](x)) * 1e-4) * WEIGHTS).sin().mean()


@KINDS.of(torch.float16, torch.bfloat16, torch.float64)
def far_values_of_a_dtype(dtype):
    model, x = layers()
    model, x = model.to(dtype), x.to(dtype)
    return model, lambda: (model[1](F.gelu(model[0](x).masked_fill(FAR, -6e4))) * WEIGHTS.to(dtype)).sin().mean()


@KINDS.of(*((function, size) for function in FUNCTIONS for size in (100.0, -1000.0)))
def slopes_beside_outliers(function, size):
    """What is read is the slope of the others."""
    model, x = layers()
    far, weights = torch.rand(ROWS, WIDTH) < 0.01, torch.randn(ROWS, WIDTH)
    return model, lambda: (model[1](function(model[0](x) + size * far) * ~far) * weights).mean()


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name, widths=(8, 4))


def report_of(x, **options):
    with gact.Compressor(adaptive=False, min_bytes=0, **options) as compressor:
        _alive = F.gelu(x * 1.0), F.softplus(x * 2.0)
    return {row.op: row for row in compressor.report().rows if row.op in ("gelu", "softplus")}


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_ordinary_values_have_what_was_asked_for(bits):
    rows = report_of(torch.randn(ROWS, WIDTH, requires_grad=True), bits=bits)
    assert {row.bits for row in rows.values()} == {bits}


def test_a_few_groups_may_be_coarse():
    x = torch.randn(512 * 256)
    x[5] = 1e4
    rows = report_of(x.requires_grad_(), bits=4)
    assert {row.bits for row in rows.values()} == {4}


def test_bits_rise_as_values_lie_apart():
    x = torch.randn(ROWS, WIDTH).masked_fill(FAR, 30.0)
    rows = report_of(x.requires_grad_(), bits=2)
    assert (rows["gelu"].bits, rows["softplus"].bits) == (7, 8)
    rows = report_of(x.detach().mul(100.0).requires_grad_(), bits=2)
    assert {row.reason for row in rows.values()} == {"values too far apart"}


def test_a_rule_is_kept():
    x = torch.randn(ROWS, WIDTH).masked_fill(FAR, 1e4).requires_grad_()
    rows = report_of(x, bits=4, rules=[gact.Rule(op="gelu", bits=3)])
    assert rows["gelu"].bits == 3


def test_far_below_a_function_nothing_is_lost():
    """What lies there takes neither bits nor levels."""
    near = torch.randn(ROWS, WIDTH)
    rows = report_of(near.masked_fill(FAR, -1e4).requires_grad_(), bits=4)
    assert rows["gelu"].bits == 4
    assert rows["softplus"].reason == "values too far apart"

"""Arguments of GELU, SiLU and Mish under a hyperbola."""

import contextlib
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact
from gact.codecs.bent import LEAST, SCALES, Bent
from gact.codecs.forms import Bending, encode, quantized
from gact.operators.need import Need
from gact.saved.coarse import fit

FUNCTIONS = {"gelu": F.gelu, "silu": F.silu, "mish": F.mish}
SHARE = {0.3: (0.98, 1.0), 1.0: (0.66, 0.74), 2.0: (0.5, 0.63), 4.0: (0.44, 0.57)}
"""Of GELU's arguments of this deviation: squared error of the function and its slope beside that of plain codes."""


def slope(function, x):
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(x).sum(), x)
    return found


def of(name, x, bits=4, seed=1):
    return encode(x, bits, 256, seed, Bending(name)).decode(tuple(x.shape), x.stride())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SCALES)
def test_the_hyperbola_has_an_inverse(name, dtype):
    x = torch.linspace(-8 if name == "gelu" else -20, 60, 4001, dtype=dtype)
    values = torch.empty_like(x)
    transform = Bent(name)
    transform.forward(x)(0, values)
    steps = values.diff() / x.diff()
    assert float(steps.min()) >= LEAST * 0.99
    assert float(steps.max()) <= 1.01
    transform.inverse()(0, values)
    torch.testing.assert_close(values, x, rtol=1e-5, atol=1e-4 if dtype is torch.float32 else 1e-9)


@pytest.mark.parametrize("deviation", SHARE)
def test_function_and_slope_have_less_noise(deviation):
    torch.manual_seed(0)
    x = torch.randn(512, 256) * deviation
    plain, other = encode(x, 4, 256, 1).decode((512, 256), (256, 1)), of("gelu", x)
    for read, most in zip((F.gelu, lambda x: slope(F.gelu, x)), SHARE[deviation], strict=True):
        errors = [(read(each) - read(x)).square().mean() for each in (other, plain)]
        assert errors[0] <= most * errors[1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_are_right_on_average(name):
    torch.manual_seed(0)
    x, function = torch.randn(64, 256) * 1.5, FUNCTIONS[name]
    slopes = torch.stack([slope(function, of(name, x, seed=seed)) for seed in range(100)])
    off = slopes.mean(0) - slope(function, x)
    # The slope still bends: what that adds, squared, is a hundredth of the noise of one rounding, as with plain codes.
    assert off.square().mean() <= (1 / 100 + 2e-2) * slopes.var(0).mean()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("size", [-1e2, -1e4, -1e9])
def test_what_lies_far_below_zero_sets_no_step(name, size):
    """The noise of the others is what it was."""
    torch.manual_seed(0)
    x, function = torch.randn(64, 256), FUNCTIONS[name]
    far = torch.rand(64, 256) < 0.05
    masked = x.masked_fill(far, size)
    for read in (function, lambda x: slope(function, x)):
        found, error = read(of(name, masked)), (read(of(name, x)) - read(x))[~far]
        assert (found - read(masked))[~far].square().mean() < 3 * error.square().mean()
        assert found[far].abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_not_a_number_is_not_made_one(dtype):
    x = torch.randn(4, 256).to(dtype)
    x[1, 3] = math.inf
    x[2, 0] = math.nan
    found = of("gelu", x)
    assert found[1:3].isnan().all()
    assert found[[0, 3]].isfinite().all()
    assert found.dtype is dtype


def code_of(y):
    """The code that the node of a function holds for its argument."""
    return y.grad_fn._raw_saved_self.data.result.held.code


def saved_by(name, read_too=lambda x: x):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.eye(512))
    compressor = gact.Compressor(bits=4, adaptive=False, min_bytes=0)
    with compressor:
        x = torch.randn(256, 512) @ weight
        y = FUNCTIONS[name](x)
        z = read_too(x)
    return compressor, x, y, z


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_alone_has_its_hyperbola(name):
    _, x, y, _ = saved_by(name)
    assert code_of(y).bent is not None
    assert y.grad_fn._saved_self.size() == x.size()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("other", [lambda x: x * x, F.softplus, lambda x: F.gelu(F.silu(x) + F.mish(x)) + F.gelu(x)])
def test_others_read_plain_codes_and_there_is_one_code(name, other):
    compressor, _x, y, _ = saved_by(name, other)
    assert code_of(y).bent is None
    rows = [row for row in compressor.report().rows if row.codec == "groups" and row.kept_bytes and row.op == name]
    alone = saved_by(name)[0].report()
    assert [row.kept_bytes for row in rows] == [row.kept_bytes for row in alone.rows if row.op == name]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_result_is_made_again_in_every_dtype(dtype):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 8)).to(dtype)
    x, weights = torch.randn(256, 64, dtype=dtype), torch.randn(256, 8, dtype=dtype)

    def gradient(compressor):
        with compressor or contextlib.nullcontext():
            loss = (layers(x) * weights).sum()
        found = torch.autograd.grad(loss, list(layers.parameters()))
        return torch.cat([each.flatten().double() for each in found])

    exact, compressor = gradient(None), gact.Compressor(layers, bits=4, adaptive=False, min_bytes=0)
    found = torch.stack([gradient(compressor) for _ in range(16)])
    off = [float((each - exact).square().sum() / exact.square().sum()) for each in (found[0], found.mean(0))]
    assert off[0] < 0.02
    assert off[1] < off[0] / 10


def test_finer_codes_of_a_step_that_measures_ask_for_no_more_bits():
    """Few groups may have large steps, whatever the width at which they are looked at."""
    region = torch.randn(1024, 256, generator=torch.Generator().manual_seed(0))
    region[5, 7] = 26.0
    need = Need("value", turn=1.0)
    for width in (4, 6, 8):
        code = quantized(region, width, 256, 5, Bent("gelu"))
        assert fit(code, region, need, 4) == 4

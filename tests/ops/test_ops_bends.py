"""Elements moved along a hyperbola: torch and C++ agree, the inverse gives back what was moved, bad arguments fail."""

from __future__ import annotations

import op_cases
import pytest
import torch

from gact.ops import cpu
from gact.ops.reference.bends import bend_into as reference

bend_into = torch.ops.gact.bend_into.default
FORWARD, INVERSE = (-1.25, 0.5625, 0.45, 0.0), (0.0, 0.05625, -4.5, -1.25)


def real_of(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


@pytest.fixture(params=cpu.available() or ["plain torch"])
def instruction_set(request):
    before = cpu.status().instruction_set
    if before:
        cpu.use_instruction_set(request.param)
    yield
    if before:
        cpu.use_instruction_set(before)


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("numel", [0, 1, 45, 300, 70_001])
def test_torch_and_cpp_agree(instruction_set, dtype, numel):
    x = op_cases.random(numel, dtype).mul(4)
    found, expected = (torch.empty(numel, dtype=real_of(dtype)) for _ in range(2))
    bend_into(found, x, *FORWARD)
    reference(expected, x, *FORWARD)
    # The last bit of the root, which is as large as the distance from the turn.
    last = 2 * torch.finfo(found.dtype).eps * (x.to(found.dtype).abs() + 2)
    assert ((found - expected).abs() <= last).all()


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
def test_its_inverse_in_place_gives_back_what_was_moved(instruction_set, dtype):
    x = torch.linspace(-30, 30, 4001).to(dtype)
    values = torch.empty(4001, dtype=real_of(dtype))
    bend_into(values, x, *FORWARD)
    assert (values.diff() >= 0).all()  # it rises everywhere, so that it has an inverse
    bend_into(values, values, *INVERSE)
    torch.testing.assert_close(values, x.to(values.dtype), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", op_cases.SPECIALS)
@pytest.mark.parametrize("dtype", op_cases.DTYPES)
def test_special_values(instruction_set, name, dtype):
    x = op_cases.special(op_cases.SPECIALS[name], 300, dtype)
    found, expected = (torch.empty(300, dtype=real_of(dtype)) for _ in range(2))
    bend_into(found, x, *FORWARD)
    reference(expected, x, *FORWARD)
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("kernel", [bend_into, reference])
@pytest.mark.parametrize(
    ("out", "x", "match"),
    [
        (torch.zeros(8), torch.zeros(9), "one shape"),
        (torch.zeros(8).double(), torch.zeros(8), "float64"),
        (torch.zeros(8, 2).t(), torch.zeros(2, 8), "contiguous"),
        (torch.zeros(8), torch.zeros(8, dtype=torch.int64), "dtype must be"),
    ],
)
def test_what_it_refuses(kernel, out, x, match):
    with pytest.raises((ValueError, RuntimeError), match=match):
        kernel(out, x, *FORWARD)

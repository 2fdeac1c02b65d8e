"""Corrected squares: plain torch and C++ agree but for the last bit of a root, and they are right on average."""

from __future__ import annotations

import math

import op_cases
import pytest
import torch

from gact.ops.reference.squares import correct_squares_ as reference

correct_squares_ = torch.ops.gact.correct_squares_.default
quantize, dequantize = torch.ops.gact.quantize.default, torch.ops.gact.dequantize.default
DITHERED, VARIANCE = 2, 17 / 192


def agree(found, expected):
    """Torch's root may be off by its last bit."""
    last = 2 * torch.finfo(found.dtype).eps
    torch.testing.assert_close(found, expected, rtol=last, atol=last, equal_nan=True)


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("numel", [0, 1, 45, 300, 70_001])
@pytest.mark.parametrize("middle", [0.0, 0.5])
def test_torch_and_cpp_agree(dtype, numel, middle):
    x = op_cases.random(numel, dtype)
    codes, metadata = quantize(x, 2, 64, 3, DITHERED)
    decoded = dequantize(codes, metadata, 2, 64, x.shape, x.stride(), dtype, 3)
    found, expected = decoded.clone(), decoded.clone()
    correct_squares_(found, metadata, 64, middle, VARIANCE)
    reference(expected, metadata, 64, middle, VARIANCE)
    agree(found, expected)
    assert numel < 45 or not torch.equal(found, decoded)


@pytest.mark.parametrize("name", op_cases.SPECIALS)
@pytest.mark.parametrize("dtype", op_cases.DTYPES)
def test_special_values(name, dtype):
    x = op_cases.special(op_cases.SPECIALS[name], 300, dtype)
    codes, metadata = quantize(x, 4, 32, 1, DITHERED)
    found = dequantize(codes, metadata, 4, 32, x.shape, x.stride(), dtype, 1)
    expected = found.clone()
    correct_squares_(found, metadata, 32, 0.0, VARIANCE)
    reference(expected, metadata, 32, 0.0, VARIANCE)
    agree(found, expected)


def test_groups_that_are_not_dithered_stay():
    x = op_cases.random(300, torch.float32)
    codes, metadata = quantize(x, 4, 64, 1, 0)
    decoded = dequantize(codes, metadata, 4, 64, x.shape, x.stride(), torch.float32, 1)
    found = decoded.clone()
    correct_squares_(found, metadata, 64, 0.0, VARIANCE)
    torch.testing.assert_close(found, decoded)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_squares_are_right_on_average(bits):
    x = op_cases.random(4096, torch.float32).abs() + 4.0
    plain, corrected, rounds = torch.zeros(2, 4096), torch.zeros(2, 4096), 200
    for seed in range(rounds):
        codes, metadata = quantize(x, bits, 256, seed, DITHERED)
        decoded = dequantize(codes, metadata, bits, 256, x.shape, x.stride(), torch.float32, seed)
        for found in (plain, corrected):
            excess = decoded.square() - x.square()
            found[0] += excess
            found[1] += excess.square()
            correct_squares_(decoded, metadata, 256, 0.0, VARIANCE)
    bias = {name: float(found[0].mean()) / rounds for name, found in (("plain", plain), ("corrected", corrected))}
    error = math.sqrt(float(corrected[1].mean()) / 4096) / rounds
    assert abs(bias["corrected"]) < 4 * error
    assert bias["plain"] > 4 * error


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((torch.zeros(64), torch.zeros(3, 2, dtype=torch.bfloat16), 64, 0.0, 0.1), "shape"),
        ((torch.zeros(64), torch.zeros(1, 2), 48, 0.0, 0.1), "group_size"),
        ((torch.zeros(8, 8)[:, ::2], torch.zeros(1, 2), 64, 0.0, 0.1), "gaps"),
        ((torch.zeros(64, dtype=torch.int32), torch.zeros(1, 2), 64, 0.0, 0.1), "dtype"),
    ],
)
def test_bad_arguments(arguments, match):
    for kernel in (correct_squares_, reference):
        with pytest.raises((RuntimeError, ValueError), match=match):
            kernel(*arguments)

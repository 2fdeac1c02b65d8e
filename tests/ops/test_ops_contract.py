"""What the code promises: error bounds, unbiasedness, exact grid values, exact constants, no silent repair of NaN."""

from __future__ import annotations

import math
from collections.abc import Callable

import op_cases
import pytest
import torch
from torch import Tensor

from gact.ops.checks import ROUNDINGS
from gact.ops.reference import groups as reference

quantize = torch.ops.gact.quantize.default
dequantize = torch.ops.gact.dequantize.default
NEAREST, STOCHASTIC, DITHERED = range(len(ROUNDINGS))


def round_trip(
    x: Tensor, bits: int, group_size: int = 256, seed: int = 0, rounding: int = STOCHASTIC
) -> tuple[Tensor, Tensor]:
    """The decoded vector and each element's scale."""
    codes, metadata = quantize(x, bits, group_size, seed, rounding)
    scale = metadata[:, 1].abs().to(torch.float64).repeat_interleave(group_size)[: x.numel()]
    return dequantize(codes, metadata, bits, group_size, x.shape, x.stride(), x.dtype, seed), scale


def storage_rounding(x: Tensor, back: Tensor) -> Tensor:
    """Room for the rounding to the dtype and of the arithmetic, per element."""
    epsilon = max(torch.finfo(x.dtype).eps, torch.finfo(torch.float32).eps if x.dtype != torch.float64 else 0.0)
    return torch.maximum(x.double().abs(), back.double().abs()) * epsilon * 2


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("bits", op_cases.WIDTHS)
@pytest.mark.parametrize("rounding", range(3), ids=ROUNDINGS)
def test_error_bound(bits: int, dtype: torch.dtype, rounding: int) -> None:
    for seed, offset in enumerate((0.0, 50.0, -3.0)):
        x = (op_cases.random(5001, torch.float64, seed) + offset).to(dtype)
        back, scale = round_trip(x, bits, 128, seed, rounding)
        bound = scale * (0.5 + 2.0**-16 if rounding == NEAREST else 1.0) + storage_rounding(x, back)
        assert ((back.double() - x.double()).abs() <= bound).all()


def bias_scores(encode: Callable[[Tensor, int], tuple[Tensor, Tensor]], bits: int) -> tuple[float, float]:
    """Mean error of many independent codes in standard deviations of itself: overall, and of the worst element.

    One group of 256 elements is repeated 16384 times: equal groups of a tensor have independent random numbers.
    """
    group, repeats = op_cases.random(256, torch.float32, seed=bits), 16384
    codes, metadata = encode(group.repeat(repeats), bits)
    back = reference.dequantize(codes, metadata, bits, 256, [repeats * 256], [1], torch.float32).view(repeats, 256)
    minimum, scale = metadata[0].double()
    fraction = ((group.double() - minimum) / scale).frac()
    error = (back.double().mean(dim=0) - group.double()) / scale
    variance = (fraction * (1 - fraction)).clamp(min=2.0**-16) / repeats
    score = error / variance.sqrt()
    return float(error.sum().abs() / variance.sum().sqrt()), float(score.abs().max())


@pytest.mark.parametrize("bits", op_cases.WIDTHS)
def test_stochastic_rounding_is_unbiased(bits: int) -> None:
    overall, worst = bias_scores(lambda x, bits: quantize(x, bits, 256, 77, True), bits)
    assert overall < 4
    assert worst < 5


@pytest.mark.parametrize(
    "biased",
    [
        lambda r: (r + 82).clamp(max=2**15 - 1),  # rounds up 0.25 % too often
        lambda r: r * 255 // 256,  # and too seldom
        lambda r: torch.full_like(r, 2**14),  # nearest
        lambda r: r.roll(1, dims=0) // 2 + r // 2,  # the right mean, the wrong distribution
    ],
)
def test_biased_rounding_is_rejected(biased: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above has the power to notice a small bias."""
    fair = reference.rounding_bits
    monkeypatch.setattr(reference, "rounding_bits", lambda *arguments: biased(fair(*arguments)))
    overall, worst = bias_scores(lambda x, bits: reference.quantize(x, bits, 256, 77, True), bits=3)
    assert overall > 4 or worst > 5


@pytest.mark.parametrize("bits", op_cases.WIDTHS)
def test_dither_is_unbiased_with_half_the_variance(bits: int) -> None:
    """Elements of a dithered group have 15 to 18 192nds of the squared scale as variance, and the right mean."""
    group, repeats = op_cases.random(256, torch.float32, seed=bits), 16384
    codes, metadata = quantize(group.repeat(repeats), bits, 256, 77, DITHERED)
    assert (metadata[:, 1] < 0).all()
    back = dequantize(codes, metadata, bits, 256, [repeats * 256], [1], torch.float32, 77).view(repeats, 256)
    error = (back.double() - group.double()) / metadata[0, 1].double().abs()
    assert error.abs().max() <= 5 / 8 + 1e-4
    variance, mean = error.var(dim=0), error.mean(dim=0)
    assert variance.min() > 0.94 * 15 / 192
    assert variance.max() < 1.06 * 18 / 192
    assert abs(variance.mean() / (17 / 192) - 1) < 0.03
    assert mean.abs().max() < 5 * (17 / 192 / repeats) ** 0.5
    assert mean.sum().abs() < 4 * (256 * 17 / 192 / repeats) ** 0.5
    # Errors of neighbours, and of elements that share a hash, are independent.
    for shift in (1, 16, 128):
        together = (error[:, :-shift] * error[:, shift:]).mean(dim=0) / (17 / 192)
        assert together.abs().max() < 5 / repeats**0.5


def test_shared_bits_of_another_seed_do_not_decode() -> None:
    x = op_cases.random(4096, torch.float32, seed=1)
    codes, metadata = quantize(x, 4, 256, 1, DITHERED)
    scale = metadata[:, 1].abs().double().repeat_interleave(256)
    right, wrong = (dequantize(codes, metadata, 4, 256, [4096], [1], torch.float32, seed) for seed in (1, 2))
    assert ((right - x).abs() / scale).max() <= 5 / 8 + 1e-4
    assert ((wrong - x).abs() / scale).max() > 1


def test_groups_on_the_grid_are_not_dithered() -> None:
    x = torch.arange(16.0).repeat(64)
    codes, metadata = quantize(x, 4, 256, 3, DITHERED)
    assert (metadata[:, 1] == 1).all()
    assert torch.equal(dequantize(codes, metadata, 4, 256, x.shape, x.stride(), x.dtype, 3), x)


@pytest.mark.parametrize("bits", op_cases.WIDTHS)
def test_grid_values_are_exact(bits: int) -> None:
    """Every code of every mantissa of the scale, under many random numbers."""
    code = torch.arange(2**bits, dtype=torch.float32)
    for mantissa in range(128, 256):
        for minimum in (0.0, -float(mantissa)):
            x = (minimum + code * mantissa).repeat(-(-1024 // 2**bits) * 4)
            back, scale = round_trip(x, bits, max(2**bits, 32), seed=mantissa)
            assert (scale == mantissa).all()
            assert torch.equal(back, x)


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_constant_groups_are_exact(bits: int, dtype: torch.dtype) -> None:
    for value in (math.pi, -1e-5, 0.0, torch.finfo(dtype).max, torch.finfo(dtype).smallest_normal):
        for numel in (1, 31, 300):
            x = torch.full((numel,), value, dtype=dtype)
            back, scale = round_trip(x, bits)
            assert torch.equal(back, x)
            assert (scale == 0).all()


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_is_nan_and_only_in_its_group(value: float, dtype: torch.dtype) -> None:
    x = op_cases.random(200, dtype)
    x[70] = value
    back, scale = round_trip(x, 4, 64)
    hit = torch.zeros(200, dtype=torch.bool)
    hit[64:128] = True
    assert torch.equal(back.isnan(), hit)
    assert torch.equal(scale.isnan(), hit)


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
def test_poisoned_groups_are_counted(dtype: torch.dtype) -> None:
    x = op_cases.random(5000, dtype)
    for count, bad in enumerate((math.nan, -math.nan, math.inf, -math.inf, math.nan)):
        metadata = quantize(x, 4, 64, 0, True)[1]
        for kernel in (torch.ops.gact.count_poisoned.default, reference.count_poisoned):
            assert kernel(metadata) == count
            assert kernel(metadata[:0]) == 0
        x[count * 1249] = bad


def test_half_does_not_overflow() -> None:
    """The top code of this group lies above the largest half."""
    x = torch.tensor([-65504.0, 65504.0, 65472.0, 3.0]).half().repeat(64)
    for seed in range(20):
        back, scale = round_trip(x, 2, 32, seed)
        assert back.isfinite().all()
        assert ((back.double() - x.double()).abs() <= scale).all()


def test_same_seed_same_codes_other_seed_other_codes() -> None:
    x = op_cases.random(1000, torch.float32)
    assert torch.equal(quantize(x, 4, 256, 1, True)[0], quantize(x, 4, 256, 1, True)[0])
    assert not torch.equal(quantize(x, 4, 256, 1, True)[0], quantize(x, 4, 256, 2, True)[0])
    assert torch.equal(quantize(x, 4, 256, 1, False)[0], quantize(x, 4, 256, 2, False)[0])


def test_number_of_threads_does_not_matter() -> None:
    x = op_cases.random(300_001, torch.float32)
    threads = torch.get_num_threads()
    expected = quantize(x, 3, 256, 1, True)[0]
    torch.set_num_threads(1)
    try:
        assert torch.equal(quantize(x, 3, 256, 1, True)[0], expected)
    finally:
        torch.set_num_threads(threads)


def test_global_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    x = torch.linspace(0, 1, 1000)
    for kernel in (quantize, reference.quantize):
        kernel(x, 4, 256, 1, True)
    assert torch.equal(torch.get_rng_state(), before)

"""The generator of stochastic rounding: uniform, and independent between everything that it is keyed by."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gact.ops.reference.random import rounding_bits
from references import group_code

RANGE = 2**15
GROUP = 256


def draw(seed: int = 0, groups: int = 8192, first: int = 0) -> Tensor:
    return rounding_bits(seed, first, (groups, GROUP), GROUP, torch.device("cpu"))


def chi_square_score(counts: Tensor) -> float:
    """Deviation of counts from uniform in standard deviations of the statistic."""
    expected = counts.sum() / counts.numel()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    degrees = counts.numel() - 1
    return (statistic - degrees) / math.sqrt(2 * degrees)


def test_matches_the_page() -> None:
    numbers = rounding_bits(-5, 3, (2, 60), 64, torch.device("cpu"))
    assert numbers.tolist() == [[group_code.rounding_bits(-5, g, j, 64) for j in range(60)] for g in (3, 4)]


@pytest.mark.parametrize("half", [slice(0, GROUP // 2), slice(GROUP // 2, GROUP)])
def test_uniform(half: slice) -> None:
    for seed in (0, -1, 2**62):
        counts = torch.bincount(draw(seed)[:, half].flatten(), minlength=RANGE).double()
        assert counts.numel() == RANGE
        assert abs(chi_square_score(counts)) < 5


def test_every_element_and_every_group_has_the_right_mean() -> None:
    """15 bits have the mean 2^14 - 1/2 and the variance (2^30 - 1) / 12."""
    numbers = draw(seed=3).double()
    for dim in (0, 1):
        score = (numbers.mean(dim) - (RANGE - 1) / 2) / math.sqrt((RANGE**2 - 1) / 12 / numbers.shape[dim])
        assert score.abs().max() < 5.5
        assert abs(float(score.square().mean()) - 1) < 6 * math.sqrt(2 / score.numel())


PAIRS = {
    "the two that share a hash": lambda: (draw()[:, : GROUP // 2], draw()[:, GROUP // 2 :]),
    "neighbouring elements": lambda: (draw()[:, :-1], draw()[:, 1:]),
    "neighbouring groups": lambda: (draw()[:-1], draw()[1:]),
    "neighbouring seeds": lambda: (draw(seed=10), draw(seed=11)),
    "distant seeds": lambda: (draw(seed=10), draw(seed=10 + 2**40)),
    "opposite seeds": lambda: (draw(seed=7), draw(seed=-7)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_independent(name: str) -> None:
    """The upper 7 bits of two numbers are jointly uniform, and no bit of one predicts a bit of the other."""
    a, b = (numbers.flatten() for numbers in PAIRS[name]())
    joint = torch.bincount((a >> 8) * 128 + (b >> 8), minlength=2**14).double()
    assert abs(chi_square_score(joint)) < 5
    bits_a = torch.stack([(a >> i) & 1 for i in range(15)]).float() * 2 - 1
    bits_b = torch.stack([(b >> i) & 1 for i in range(15)]).float() * 2 - 1
    correlation = bits_a @ bits_b.T / a.numel()
    assert correlation.abs().max() * math.sqrt(a.numel()) < 5


def test_bias_of_the_fixed_point_is_bounded() -> None:
    """Over all r, the carry of t + r has exactly the probability of t's fraction: the only bias is t's own rounding."""
    r = torch.arange(RANGE)
    for t in (0, 1, 12345, RANGE - 1, RANGE, 5 * RANGE + 99):
        assert float(((t + r) >> 15).double().mean()) == t / RANGE

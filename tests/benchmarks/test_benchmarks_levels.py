"""The variances that the levels case computes, against codes that are really made, and the fitted tables."""

from pathlib import Path

import pytest
import torch
from benchmarks.cases.levels import Baseline
from benchmarks.levels_table import RANDOM, REAL, table

from benchmarks import schemes, tables, variance

DRAWS = 4000


def groups_of(rows=8):
    return variance.Groups.of(torch.randn(rows * 256, dtype=torch.float64))


@pytest.mark.parametrize("phases", [1, 2, 4, 8])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_dither_is_unbiased_and_has_the_variance_computed(bits, phases):
    groups, levels = groups_of(1), 2**bits - 1
    place = (groups.position * levels).expand(DRAWS, -1)
    shared = torch.randint(phases, place.shape)
    code = (place + (shared + torch.rand_like(place)) / phases).floor()
    assert code.max() <= levels
    error = (code - shared / phases + (phases - 1) / (2 * phases) - place) / levels
    expected = variance.dithered(groups, bits, phases)
    assert error.mean().abs() < 5 * (expected.mean() / error.numel()).sqrt()
    torch.testing.assert_close(error.square().mean(), expected.mean(), rtol=0.02, atol=0)


def test_one_phase_is_plain_stochastic_rounding():
    groups = groups_of()
    torch.testing.assert_close(variance.dithered(groups, 2, 1), variance.stochastic(groups, 2))


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_table_of_evenly_spread_values_is_even(levels):
    table = tables.fit_table(torch.ones(tables.CELLS + 1, dtype=torch.float64), levels)
    torch.testing.assert_close(table, torch.linspace(0, 1, levels, dtype=torch.float64), rtol=0, atol=2 / tables.CELLS)


def test_table_has_levels_where_all_weight_is():
    weights = torch.zeros(tables.CELLS + 1, dtype=torch.float64)
    weights[[100, 900]] = 1.0
    assert tables.fit_table(weights, 4).tolist() == [0, 100 / 1024, 900 / 1024, 1]


def test_even_points_with_dither_have_the_variance_of_uniform_dither():
    groups, phases, bits = groups_of(), 4, 2
    points = (torch.arange(phases * 2**bits, dtype=torch.float64) - (phases - 1) / 2) / (phases * (2**bits - 1))
    torch.testing.assert_close(
        tables.dithered_variance(groups.position, points, phases), variance.dithered(groups, bits, phases)
    )


def test_rotation_keeps_lengths():
    matrix = schemes._hadamard_matrix(16)
    torch.testing.assert_close(matrix @ matrix.t(), torch.eye(16, dtype=torch.float64))


def test_no_scheme_beats_a_code_of_more_bytes_by_having_more_bytes():
    sample = variance.Sample(torch.randn(64, 256), 2**14)
    baseline = Baseline(sample)
    plain = schemes.BASELINE(sample, 3)
    assert baseline.at(plain.bits) == pytest.approx(plain.variance)
    assert baseline.at(3.5) < baseline.at(3.25) < plain.variance


@pytest.mark.parametrize("count", [1, 4])
def test_outliers_are_paid_for(count):
    sample = variance.Sample(torch.randn(64, 256), 2**14)
    assert schemes.outliers(count)(sample, 2).bits == 2 + (32 + 24 * count) / 256


def test_columns_are_the_same_values():
    sample = variance.Sample(torch.randn(3, 40, 16), 1000)
    assert sample.rows == 62
    assert sorted(sample.flat.tolist()) == sorted(sample.by_column.tolist())


@pytest.mark.parametrize("networks", [REAL, RANDOM])
def test_the_tables_of_the_docs_are_those_of_the_rows(networks):
    text = (Path(__file__).parents[2] / "docs" / "levels.md").read_text()
    assert table(networks) in text, "run python benchmarks/levels_table.py and put its output into docs/levels.md"

"""Looks at values: C++ says what plain torch says, and both what is true."""

from __future__ import annotations

import math

import op_cases
import pytest
import torch

from gact.ops import cpu, looks

pytestmark = pytest.mark.skipif(not cpu.available(), reason="the C++ extension is not built")


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("length", [1, 7, 64, 100])
@pytest.mark.parametrize("touched", [1, 2, 5])
@pytest.mark.parametrize(
    ("rows", "factor", "found"), [([3], 1.5, False), ([3], 20.0, True), ([3], 0.0, True), ([3, 4], 0.05, True)]
)
def test_rows_differ_from_their_neighbours(dtype, length, touched, rows, factor, found):
    table = torch.full((40, length), 1.5, dtype=dtype)
    table[rows] *= factor
    expected = found and touched > 1
    assert looks.rows_differ(table, touched, 8.0) is expected
    assert looks.rows_differ_plainly(table, touched, 8.0) is expected


@pytest.mark.parametrize(("bad", "found"), [(math.nan, False), (math.inf, True)])
def test_rows_that_are_not_finite(bad, found):
    table = torch.ones(40, 8)
    table[5, 2] = bad
    table[30] = 100.0
    assert looks.rows_differ(table, 2, 8.0) is found
    assert looks.rows_differ_plainly(table, 2, 8.0) is found


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize(("middle", "greatest"), [(0.0, 1.0), (0.5, 0.25)])
@pytest.mark.parametrize("step", [1, 3])
def test_mean_square_of_slopes(dtype, middle, greatest, step):
    flat = (torch.rand(1001, generator=torch.Generator().manual_seed(0)) * 2 - 1).to(dtype)
    found = looks.mean_square_slope(flat, step, middle, greatest)
    assert found == pytest.approx(looks.mean_square_slope_plainly(flat, step, middle, greatest), rel=1e-9)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("touched", [1, 2, 5])
@pytest.mark.parametrize("with_mean", [True, False])
@pytest.mark.parametrize(
    ("rstd", "mean", "found"),
    [
        (1.0, 0.0, False),
        (3.0, 0.0, False),
        (30.0, 0.0, True),
        (1.0, 500.0, True),
        (0.0, 0.0, None),
        (math.inf, 0.0, None),
        (math.nan, 0.0, None),
        (1.0, math.nan, None),
    ],
)
def test_channels_differ_from_their_neighbours(blocks, touched, with_mean, rstd, mean, found):
    deviations, means = torch.ones(blocks, 12), torch.zeros(blocks, 12)
    deviations[-1, -1], means[-1, -1] = rstd, mean  # behind the last channel comes the first
    if not with_mean and mean != 0.0:
        return
    expected = False if found and touched == 1 and mean == 0.0 else found
    for look in (looks.channels_differ, looks.channels_differ_plainly):
        assert look(deviations, means if with_mean else None, touched, 128.0, 8.0) is expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("length", [16, 256, 250])
def test_extremes_of_runs_are_those_of_torch(dtype, length):
    runs = torch.randn(900, length, generator=torch.Generator().manual_seed(0)).to(dtype)
    for value in (math.inf, math.nan, -math.inf):
        found = looks.extremes_of_runs(runs)
        finite = runs.isfinite().all(1)
        exact = torch.stack((runs.amin(1), runs.amax(1))).to(found.dtype)
        assert torch.equal(found[:, finite], exact[:, finite])
        assert not found[:, ~finite].isfinite().all(0).any()
        runs[3, 5] = value

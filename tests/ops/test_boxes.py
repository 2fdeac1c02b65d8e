"""Boxes of rows: C++ and plain torch give the same, elements to the bit, also of parts of rows."""

import math

import pytest
import torch

from gact.ops import boxes, boxsamples, cpu
from gact.ops.boxes import Grid

GRIDS = [Grid(30, 7, 24, 4, 3), Grid(300, 1, 40, 128, 1), Grid(28, 14, 17, 14, 7)]


@pytest.fixture(params=["cpp", "plain"])
def kernels(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(cpu._Extension, "library", None)


def values(grid, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(grid.high * grid.wide * grid.channels, generator=generator).to(dtype)


def of_each(table, grid):
    """A figure of each element, the slow way."""
    rows = [row // grid.wide // grid.tall * -(-grid.wide // grid.broad) + row % grid.wide // grid.broad
            for row in range(grid.high * grid.wide)]  # fmt: skip
    return table[rows].flatten()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("grid", GRIDS)
def test_extremes_are_those_of_each_box(grid, dtype, kernels):
    flat = values(grid, dtype)
    low, high = (of_each(table, grid) for table in boxes.extremes(flat, grid))
    assert (low <= flat).all()
    assert (flat <= high).all()
    for at in (low, high):  # each is the value of an element of the box
        assert (at == flat).view(-1, grid.channels).sum() >= grid.boxes * grid.channels


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("start", "count"), [(0, None), (100, 777), (5, 2), (24, 3), (0, 40)])
def test_any_part_is_moved_as_the_whole_is(grid, start, count, kernels):
    flat = values(grid)
    low, high = boxes.extremes_plainly(flat, grid)
    least, width = of_each(low, grid), of_each(high, grid)
    stop = flat.numel() if count is None else start + count
    out = torch.empty(stop - start)
    boxes.narrow(flat, grid, start, low, high, out)
    assert torch.equal(out, ((flat - least) * width)[start:stop])
    boxes.restore(out, grid, start, high, low)
    assert torch.equal(out, ((flat - least) * width)[start:stop] * width[start:stop] + least[start:stop])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_look_shows_what_the_twin_shows(grid, dtype):
    flat = values(grid, dtype)
    for part in (0, grid.channels):
        look, twin = boxes.look_at(flat, grid), boxes.look_at_plainly(flat, grid)
        torch.testing.assert_close(look.energy, twin.energy, equal_nan=True)
        assert look.mean == pytest.approx(twin.mean, nan_ok=bool(part))
        if not part:
            assert all(map(torch.equal, look[:2], twin[:2]))
        flat[grid.channels] = math.nan


def lines(blocks, channels, inner, span):
    factor, shift = torch.rand(2, blocks, channels, generator=torch.Generator().manual_seed(1))
    return boxsamples.Lines(factor + 0.1, shift, inner, span)


UNDER = {
    "as they are": lambda grid, numel: None,
    "columns": lambda grid, numel: lines(1, grid.channels, 1, numel),
    "runs": lambda grid, numel: lines(1, 5, 7, numel),
    "rows of blocks": lambda grid, numel: lines(-(-numel // 120), 3, 10, 120),
    "columns of blocks": lambda grid, numel: lines(-(-numel // 120), 6, 1, 120),
    "a hyperbola": lambda grid, numel: boxsamples.Hyperbola(-1.25, 0.5625, 0.45, -3.0, 0.125),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("under", UNDER.values(), ids=UNDER)
def test_some_bands_show_what_the_twin_shows(under, grid, dtype):
    flat = values(grid, dtype) * 3
    length, how = grid.tall * grid.wide * grid.channels, under(grid, flat.numel())
    for starts in ([0], [length], [0, flat.numel() // length // 2 * length]):
        for size in (32, 128):
            found = boxsamples.sampled(flat, grid, starts, size, how)
            assert found == pytest.approx(boxsamples.sampled_plainly(flat, grid, starts, size, how), rel=1e-4)
            assert found.squares > found.groups**2
            assert (found.boxes == found.plain_boxes) is (how is None)


def test_a_look_along_lines_is_that_of_elements_that_were_moved():
    grid = GRIDS[0]
    flat, how = values(grid), lines(1, grid.channels, 1, 30 * 7 * 24)
    moved = ((flat.view(-1, grid.channels) - how.shift) * how.factor).flatten()
    found = boxsamples.sampled(flat, grid, [0], 32, how)
    assert found[:2] == pytest.approx(boxsamples.sampled(moved, grid, [0], 32)[:2], rel=1e-4)
    assert found.plain_boxes == pytest.approx(boxsamples.sampled(flat, grid, [0], 32).boxes, rel=1e-4)


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_boxes_are_as_uneven_as_the_twin_says(count):
    widths, step = torch.rand(count, 33, generator=torch.Generator().manual_seed(0)), torch.full((33,), 1e-3)
    widths[0], widths[:, 5], step[5] = 40.0, 0.0, 0.0
    found = boxes.unevenness(widths, step)
    assert found == pytest.approx(boxes.unevenness_plainly(widths, step), rel=1e-5)
    assert found > (30 if count > 2 else 0.5)
    step[7] = math.inf
    assert math.isnan(boxes.unevenness(widths, step))
    assert math.isnan(boxes.unevenness_plainly(widths, step))

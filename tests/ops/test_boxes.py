"""Boxes of rows: C++ and plain torch give the same to the bit, also of parts of rows."""

import pytest
import torch

from gact.ops import boxes, cpu
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

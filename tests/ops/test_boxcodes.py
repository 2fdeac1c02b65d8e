"""Codes of places in boxes: one pass in C++ gives what two passes give, to the bit, in any number of threads."""

import pytest
import torch

from gact.codecs.boxes import Boxes
from gact.codecs.chunks import key_from
from gact.codecs.transformed import Transformed
from gact.ops import boxcodes, boxes, cpu
from gact.ops.boxes import Grid

GRIDS = [Grid(30, 7, 24, 4, 3), Grid(300, 1, 40, 128, 1), Grid(28, 14, 17, 14, 7), Grid(700, 1, 300, 128, 1)]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]

pytestmark = pytest.mark.skipif(cpu.library() is None, reason="there is nothing to compare without the extension")


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def values(grid, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(grid.high * grid.wide, grid.channels, generator=generator)
    return (flat * torch.rand(grid.channels, generator=generator) * 9 + 3).to(dtype)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_bounds_are_those_of_the_twin_and_leave_nothing_out(grid):
    x = values(grid)
    x[:, 1] = 4.0  # a channel without any range
    low, high = boxes.extremes(x.flatten(), grid)
    bounds = boxcodes.bounds_of(low, high)
    assert all(map(torch.equal, bounds, boxcodes.bounds_plainly(low, high)))
    tables = boxcodes.tables_of(bounds)
    assert all(map(torch.equal, tables, boxcodes.tables_plainly(bounds)))
    slack = bounds.ranges[1] * 1e-3 + 1e-6
    assert (tables.least <= low + slack).all()
    assert (tables.least + tables.width >= high - slack).all()


def test_bounds_of_what_is_not_finite_poison_the_groups():
    x = values(GRIDS[1])
    for value in (float("inf"), float("nan")):
        x[7, 3] = value
        low, high = boxes.extremes(x.flatten(), GRIDS[1])
        for bounds in (boxcodes.bounds_of(low, high), boxcodes.bounds_plainly(low, high)):
            assert bounds.levels.dtype is torch.uint8
        assert Transformed(x, 4, 1024, 1, Boxes(low, high, GRIDS[1])).is_poisoned()


@pytest.mark.parametrize("bits", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_one_pass_gives_what_two_give(grid, dtype, bits, threads, monkeypatch):
    x = values(grid, dtype)
    low, high = boxes.extremes(x.flatten(), grid)
    code = Transformed(x, bits, 1024, 5, Boxes(low, high, grid))
    decoded = code.decode(x.shape, x.stride())
    monkeypatch.setattr("gact.codecs.boxes.encode", lambda *_: None)
    monkeypatch.setattr("gact.codecs.boxes.decode_into", lambda *_: False)
    twin = Transformed(x, bits, 1024, 5, Boxes(low, high, grid))
    assert torch.equal(code.codes, twin.codes)
    assert torch.equal(code.metadata, twin.metadata)
    assert torch.equal(decoded, code.decode(x.shape, x.stride()))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_part_is_decoded_as_the_whole_is(grid):
    x = values(grid)
    code = Transformed(x, 4, 256, 5, Boxes(*boxes.extremes(x.flatten(), grid), grid))
    whole = code.decode((x.numel(),), (1,))
    part = torch.empty(x.numel() - 512)
    rest = (code.codes[512 * 4 // 8 :], code.metadata[2:], 4, 256, key_from(code.seed, 2))
    assert code.transform.decoder()(512, part, *rest)
    assert torch.equal(part, whole[512:])


def test_what_is_too_large_for_a_half_becomes_its_largest_number():
    grid = Grid(300, 1, 40, 128, 1)
    x = values(grid, torch.float16)
    x[::2] = 65504.0
    decoded = Transformed(x, 2, 1024, 5, Boxes(*boxes.extremes(x.flatten(), grid), grid)).decode(x.shape, x.stride())
    assert decoded.isfinite().all()


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize(("start", "runs", "length", "distance"), [(0, 1, 5, 5), (256, 3, 256, 512), (100, 4, 33, 90)])
def test_figures_are_spread_over_runs_of_elements(grid, start, runs, length, distance, monkeypatch):
    table = torch.rand(grid.boxes, grid.channels, generator=torch.Generator().manual_seed(0))
    rows = grid.box_of(0, grid.high * grid.wide, table.device)
    flat = table[rows].flatten()
    expected = torch.stack([flat[start + run * distance :][:length] for run in range(runs)])
    arguments = (table, grid, start, runs, length, distance)
    assert torch.equal(boxcodes.spread(*arguments), expected)
    monkeypatch.setattr(cpu._Extension, "library", None)
    assert torch.equal(boxcodes.spread(*arguments), expected)

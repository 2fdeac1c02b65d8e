"""Which regions have their rows scaled, what a row is, and which elements have figures in common."""

from __future__ import annotations

import pytest
import torch
from edge_cases import draw
from torch._subclasses import FakeTensorMode

from gact.codecs import chunks
from gact.codecs.channels import Channels, channels_of
from gact.codecs.transforms import RowScaled, needs_rows, row_scaled, rows_of


@pytest.mark.parametrize(
    ("size", "stride", "rows"),
    [
        ((6, 192), (192, 1), (6, 192)),
        ((192, 6), (1, 192), (6, 192)),
        ((4, 8, 7, 9), (504, 63, 9, 1), (32, 63)),
        ((4, 8, 40, 9), (2880, 360, 9, 1), (32, 360)),
        ((4, 48, 7, 9), (3024, 1, 432, 48), (252, 48)),
        ((4, 1, 8), (8, 8, 1), (1, 32)),
        ((5, 4, 8), (32, 8, 1), (5, 32)),
        ((3, 2), (2, 1), (1, 6)),
        ((), (), (1, 1)),
    ],
)
def test_rows_are_what_lies_together(size, stride, rows):
    assert rows_of(size, stride) == rows


def test_rows_that_share_no_group_are_left():
    x = draw(64, 512)
    x[3] = 0
    assert not needs_rows(x, 256)
    assert needs_rows(x, 1024)
    assert not needs_rows(x[:1], 1024)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("factor", "needed"), [(1.0, False), (0.3, False), (1 / 20, True), (20.0, True), (0.0, True)])
def test_rows_are_scaled_where_one_is_of_another_size(factor, needed, dtype):
    x = draw(300, 192).to(dtype)
    x[77] *= factor
    assert needs_rows(x, 256) is needed
    assert needs_rows(x.t(), 256) is needed
    assert (row_scaled(x, 256) is not None) is needed


def test_rows_far_from_each_other_may_differ():
    x = draw(300, 192) * torch.linspace(0, 6, 300).exp2()[:, None]
    assert not needs_rows(x, 256)
    assert not needs_rows(torch.zeros(300, 192), 256)


def test_without_data_only_devices_have_rows_scaled():
    with FakeTensorMode():
        assert not needs_rows(torch.empty(300, 192), 256)
        on_device = torch.empty(300, 192, device="cuda")
        assert needs_rows(on_device, 256)
        assert not needs_rows(torch.empty(300, 256, device="cuda"), 256)
        assert row_scaled(on_device, 256).nbytes == 300


def test_scaling_is_exact_and_brings_rows_to_one_size():
    x = draw(200, 40) * torch.logspace(-30, 30, 200)[:, None]
    x[5] = 0
    scaled = RowScaled(x, 200)
    values = torch.empty(x.numel())
    scaled.forward(x.flatten())(0, values)
    largest = values.view(200, 40).abs().amax(1)
    assert largest[5] == 0
    assert ((largest[largest > 0] >= 0.5) & (largest[largest > 0] < 1)).all()
    scaled.inverse()(0, values)
    assert torch.equal(values.view(200, 40), x)
    assert scaled.nbytes == 200


SIZE = (3, 4, 5, 6)
LAYOUTS = {
    "rows": ((3, 4, 5, 1), torch.contiguous_format, Channels(1, 60, 6, 360)),
    "channels": ((1, 4, 1, 1), torch.contiguous_format, Channels(1, 4, 30, 360)),
    "channels last": ((1, 4, 1, 1), torch.channels_last, Channels(1, 4, 1, 360)),
    "samples and channels": ((3, 4, 1, 1), torch.contiguous_format, Channels(1, 12, 30, 360)),
    "samples and channels last": ((3, 4, 1, 1), torch.channels_last, Channels(3, 4, 1, 120)),
    "pixels of channels last": ((3, 1, 5, 6), torch.channels_last, Channels(1, 90, 4, 360)),
    "pixels": ((3, 1, 5, 6), torch.contiguous_format, Channels(3, 30, 1, 120)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_pieces_meet_the_figures_of_their_elements(name):
    figures_size, layout, expected = LAYOUTS[name]
    x = draw(*SIZE).contiguous(memory_format=layout)
    figures = draw(*figures_size, seed=1)
    channels = channels_of(x.size(), x.stride(), figures_size)
    assert channels == expected
    order = sorted(range(4), key=lambda dim: -x.stride(dim))
    table = figures.permute(order).reshape(channels.blocks, -1)
    flat = chunks.flat_of(x)
    product = chunks.flat_of(x * figures)
    for start, stop in [(0, 360), (7, 353), (119, 121), (1, 2), (60, 300)]:
        found = torch.full((stop - start,), torch.nan)
        for piece in channels.pieces(start, stop):
            torch.mul(piece.of(flat, 0), piece.figures(table), out=piece.of(found, start))
        assert torch.equal(found, product[start:stop])


def test_figures_that_make_no_channels():
    x = draw(*SIZE)
    assert channels_of(x.size(), x.stride(), (1, 1, 1, 1)) is None
    assert channels_of(x.size(), x.stride(), (3, 1, 5, 1))[:3] == (3, 5, 6)
    assert channels_of(draw(2, 3, 4, 5, 6).size(), draw(2, 3, 4, 5, 6).stride(), (2, 1, 4, 1, 6)) is None
    assert channels_of(x.size(), x.stride(), (2, 1, 1, 1)) is None
    assert channels_of(x.size(), x.stride(), (4,)) is None

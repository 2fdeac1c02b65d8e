"""What C++ finds about channels is what plain torch finds."""

import pytest
import torch

from gact.ops import columns

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def drawn(rows, length, spread=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scales = (spread * torch.randn(length, generator=generator)).exp()
    shifts = 3 * torch.randn(length, generator=generator)
    return torch.randn(rows, length, generator=generator) * scales + shifts


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "length"), [(960, 384), (700, 96), (4096, 32), (90, 1000), (65, 1024), (130, 300)])
def test_channels_are_the_same(rows, length, dtype):
    flat = drawn(rows, length).to(dtype).flatten()
    found, plain = (look(flat, length, 256) for look in (columns.look_at, columns.look_at_plainly))
    torch.testing.assert_close(found.deviation, plain.deviation, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.mean, plain.mean, rtol=1e-4, atol=1e-5)
    assert found.less == pytest.approx(plain.less, rel=1e-4)
    assert found.left == pytest.approx(plain.left, rel=1e-4)
    mean = flat.view(-1, length).double().mean(0)
    assert (found.mean - mean).abs().max() < 1.0 * found.deviation.max()  # and they are those of the region, roughly


def test_what_was_not_in_the_sample_widens_its_channel():
    region = drawn(5000, 64, spread=0.0)
    region[4321, 7] = 1e4
    for look in (columns.look_at, columns.look_at_plainly):
        assert look(region.flatten(), 64, 256).deviation[7] == pytest.approx(1e4 / 16, rel=1e-2)


@pytest.mark.parametrize("kind", ["alike", "sparse", "inf", "nan", "zero"])
def test_there_is_nothing_to_be_said_of_the_same_regions(kind):
    region = drawn(960, 384)
    if kind == "alike":
        region = torch.rand(960, 384, generator=torch.Generator().manual_seed(0))
    elif kind == "sparse":
        region *= torch.rand(960, 384, generator=torch.Generator().manual_seed(0)) < 0.1
    elif kind == "zero":
        region.zero_()
    else:
        region[:, 3] = float(kind)
    for look in (columns.look_at, columns.look_at_plainly):
        assert look(region.flatten(), 384, 256) is None


def test_threads_find_the_same():
    flat = drawn(20_000, 96).flatten()
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 4):
            torch.set_num_threads(threads)
            found.append(columns.look_at(flat, 96, 256))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0].deviation, found[1].deviation)
    assert found[0].less == found[1].less

"""The codes as the compressor uses them: a dense region in, a tensor of another size of the same memory out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gact.codecs.groups import LARGE, Groups
from gact.codecs.integers import Integers, width_of
from gact.codecs.masks import Mask, MaskTest


def region(dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(4, 300, generator=torch.Generator().manual_seed(3))
    return x.to(dtype).t()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_groups(dtype: torch.dtype) -> None:
    x = region(dtype)
    code = Groups(x, 8, 64, 5)
    assert (code.name, code.bits, code.nbytes) == ("groups", 8, code.codes.nbytes + code.metadata.nbytes)
    assert code.codes.nbytes == 4 * 8 * 38
    back = code.decode(tuple(x.shape), x.stride())
    assert (back.shape, back.stride(), back.dtype) == (x.shape, x.stride(), dtype)
    torch.testing.assert_close(back, x, atol=0.05, rtol=0.01)
    torch.testing.assert_close(code.decode((2, 600), (600, 1)).flatten(), back.t().flatten(), atol=0, rtol=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_groups_know_that_they_are_poisoned(value: float) -> None:
    x = region()
    assert not Groups(x, 4, 64, 5).is_poisoned()
    x[7, 1] = value
    assert Groups(x, 4, 64, 5).is_poisoned()
    assert not Groups(torch.zeros(0), 4, 64, 5).is_poisoned()


def test_mask() -> None:
    x = region()
    code = Mask(x, MaskTest(-0.5, 0.5, off=1.0, on=0.25))
    assert (code.name, code.bits, code.nbytes) == ("mask", 1, 4 * 38)
    expected = torch.where(x.abs() < 0.5, 0.25, 1.0)
    back = code.decode(tuple(x.shape), x.stride())
    assert torch.equal(back, expected)
    assert back.stride() == x.stride()


def test_mask_of_bool_comes_back() -> None:
    x = region() > 0.3
    assert torch.equal(Mask(x, MaskTest()).decode(tuple(x.shape), x.stride()), x)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8])
def test_integers(dtype: torch.dtype) -> None:
    x = (region() * 20).clamp(min=0).to(dtype)
    low, high = int(x.min()), int(x.max())
    code = Integers(x, low, high)
    assert (code.name, code.bits, code.nbytes) == ("integers", 8, 4 * 8 * 38 + 8)
    back = code.decode(tuple(x.shape), x.stride())
    assert torch.equal(back, x)
    assert (back.stride(), back.dtype) == (x.stride(), dtype)


@pytest.mark.parametrize(
    ("span", "width"),
    [
        *[(0, 1), (1, 1), (2, 2), (3, 2), (15, 4), (16, 8), (256, 16), (2**16 - 1, 16), (2**16, 17), (2**17, 18)],
        *[(2**18, 20), (2**20, 24), (2**24 - 1, 24), (2**24, 32), (2**32 - 1, 32), (2**32, 64)],
    ],
)
def test_integers_take_the_narrowest_width(span: int, width: int) -> None:
    assert width_of(-5, span - 5) == width
    x = torch.tensor([-5, span - 5] * 200)
    code = Integers(x, -5, span - 5)
    assert code.bits == width
    assert torch.equal(code.decode((20, 20), (20, 1)), x.view(20, 20))


@pytest.mark.parametrize("bits", [17, 18, 20, 24])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_integers_between_16_and_32_bits_take_as_many(bits: int, dtype: torch.dtype) -> None:
    limits = torch.iinfo(dtype)
    for minimum in (limits.min, -7, limits.max - (1 << bits) + 1):
        offsets = torch.randint(1 << bits, (40, 30), generator=torch.Generator().manual_seed(bits))
        offsets[0, :2] = torch.tensor([0, (1 << bits) - 1])
        x = (offsets + minimum).to(dtype).t()
        code = Integers(x, minimum, minimum + (1 << bits) - 1)
        assert code.bits == bits
        assert code.nbytes <= x.numel() * bits / 8 + 64
        back = code.decode(tuple(x.shape), x.stride())
        assert torch.equal(back, x)
        assert (back.stride(), back.dtype) == (x.stride(), dtype)


def test_large_regions() -> None:
    x = torch.randn(8200, 1024, generator=torch.Generator().manual_seed(3)).t()
    assert x.nbytes >= LARGE
    back = Groups(x, 8, 256, 1).decode(tuple(x.shape), x.stride())
    assert back.stride() == x.stride()
    torch.testing.assert_close(back, x, atol=0.05, rtol=0)

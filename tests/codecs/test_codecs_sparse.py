"""Data that is mostly zero comes back bit for bit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gact.codecs.sparse import SHARE, Sparse, is_sparse


def sparse(share: float, dtype: torch.dtype = torch.float32, numel: int = 4099) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(numel, generator=generator)
    return torch.where(torch.rand(numel, generator=generator) < share, values, 0.0).to(dtype)


def bits_of(x: Tensor) -> Tensor:
    return x.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.itemsize])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_every_bit_comes_back(dtype: torch.dtype) -> None:
    x = sparse(0.1, dtype)
    x[5], x[70], x[71], x[4098] = -0.0, math.nan, -math.inf, torch.finfo(dtype).smallest_normal
    code = Sparse(x)
    assert torch.equal(bits_of(code.decode(tuple(x.shape), x.stride())), bits_of(x))
    assert code.nbytes == 4 * math.ceil(4099 / 32) + int((bits_of(x) != 0).sum()) * x.itemsize
    assert code.dtype == dtype


def test_a_part_of_a_storage_and_another_order_of_memory() -> None:
    x = sparse(0.1, numel=64 * 130)[128:].view(64, 128).t()
    back = Sparse(x).decode(tuple(x.shape), x.stride())
    assert torch.equal(back, x)
    assert back.stride() == x.stride()


def test_nothing_but_zeros_and_one_element() -> None:
    assert torch.equal(Sparse(torch.zeros(33)).decode((33,), (1,)), torch.zeros(33))
    assert torch.equal(Sparse(torch.full((1,), 3.0)).decode((1,), (1,)), torch.full((1,), 3.0))


def test_what_is_mostly_zero() -> None:
    assert is_sparse(sparse(0.1))
    assert not is_sparse(sparse(0.2))
    assert not is_sparse(torch.zeros(0))
    exactly = torch.zeros(80 * SHARE)
    exactly[::SHARE] = 1.5
    assert is_sparse(exactly)
    exactly[1] = 1.5
    assert not is_sparse(exactly)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.11])
def test_zeros_with_a_sign_cost_a_bit_each(dtype: torch.dtype, share: float) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(64, 130, generator=generator) * (torch.rand(64, 130, generator=generator) < share)
    x = x.to(dtype)
    x[0, 0], x[0, 1] = math.nan, math.inf
    assert is_sparse(x)
    for each in (x, x.t()):
        code = Sparse(each)
        assert torch.equal(bits_of(code.decode(tuple(each.shape), each.stride())), bits_of(each))
    assert code.nbytes <= x.numel() / 4 + 8 + int(x.count_nonzero()) * x.itemsize


def test_nothing_but_zeros_with_a_sign() -> None:
    x = torch.full((4096,), -0.0)
    assert is_sparse(x)
    assert torch.equal(bits_of(Sparse(x).decode((4096,), (1,))), bits_of(x))


def test_a_dense_part_that_a_glance_misses() -> None:
    x = torch.zeros(2**16)
    x[1 : 2**15 : 2], x[2 : 2**15 : 2] = 1.0, 2.0
    assert not is_sparse(x)

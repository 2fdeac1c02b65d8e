"""Elements that are not zero: C++ gathers and scatters what plain torch does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gact.ops import sparse


def words(numel: int, share: float, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    info = torch.iinfo(dtype)
    found = torch.randint(info.min, info.max, (numel,), generator=generator, dtype=dtype)
    return torch.where(torch.rand(numel, generator=generator) < share, found, 0)


@pytest.mark.parametrize("dtype", sparse.WORDS.values())
@pytest.mark.parametrize("numel", [0, 1, 31, 32, 33, 1000])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_both_ways(dtype: torch.dtype, numel: int, share: float) -> None:
    x = words(numel, share, dtype)
    bits, values = sparse.gather_set(x)
    plain_bits, plain_values = sparse.gather_set_plainly(x)
    assert torch.equal(bits, plain_bits)
    assert torch.equal(values, plain_values)
    assert torch.equal(values, x[x != 0])
    for scatter in (sparse.scatter_set, sparse.scatter_set_plainly):
        out = torch.full_like(x, 7)
        scatter(out, bits, values)
        assert torch.equal(out, x)

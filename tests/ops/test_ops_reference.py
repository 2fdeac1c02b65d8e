"""The reference kernels against the code written element by element."""

from __future__ import annotations

import op_cases
import pytest
import torch

from gact.ops.reference import groups as reference
from gact.ops.reference.bits import pack_rows, unpack_rows
from references import group_code


def truth(x: torch.Tensor, bits: int, group_size: int, seed: int | None) -> tuple[bytes, list[int]]:
    codes, fields = b"", []
    for group, start in enumerate(range(0, x.numel(), group_size)):
        values = x[start : start + group_size].tolist()
        packed, *metadata = group_code.quantize_group(values, group, bits, group_size, seed, x.dtype == torch.float64)
        codes += packed
        fields += metadata
    return codes, fields


def check(x: torch.Tensor, bits: int, group_size: int, seed: int | None) -> None:
    codes, metadata = reference.quantize(x, bits, group_size, seed or 0, seed is not None)
    expected_codes, expected_fields = truth(x, bits, group_size, seed)
    integer = op_cases.INTEGER[metadata.element_size()]
    mask = 2 ** (8 * metadata.element_size()) - 1
    assert [field & mask for field in metadata.view(integer).flatten().tolist()] == expected_fields
    assert bytes(codes.tolist()) == expected_codes


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("bits", op_cases.WIDTHS)
def test_random_values(bits: int, dtype: torch.dtype) -> None:
    check(op_cases.random(1001, dtype), bits, 256, seed=-3)
    check(op_cases.random(77, dtype), bits, 32, seed=None)


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("name", op_cases.SPECIALS)
def test_special_values(name: str, dtype: torch.dtype) -> None:
    for bits in (1, 4, 7):
        check(op_cases.special(op_cases.SPECIALS[name], 45, dtype), bits, 32, seed=12345)


@pytest.mark.parametrize("bits", op_cases.WIDTHS)
def test_bit_packing(bits: int) -> None:
    codes = torch.randint(0, 256, (100,), dtype=torch.uint8, generator=torch.Generator().manual_seed(bits))
    for group in (codes[:64], codes[64:]):
        packed = pack_rows(group[None], bits)
        values = [code % 2**bits for code in group.tolist()]
        assert bytes(packed[0].tolist()) == group_code.pack_group(values, bits)
        assert unpack_rows(packed, bits, len(values))[0].tolist() == values

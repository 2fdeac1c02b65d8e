"""Masks and integers: what they promise, and the C++ kernels of every instruction set against the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import op_cases
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gact.ops import checks, cpu
from gact.ops.reference import exact as reference_exact

encode_mask = torch.ops.gact.encode_mask.default
decode_mask_into = torch.ops.gact.decode_mask_into.default
apply_mask_ = torch.ops.gact.apply_mask_.default
encode_integers = torch.ops.gact.encode_integers.default
decode_integers_into = torch.ops.gact.decode_integers_into.default

SIZES = (0, 1, 31, 32, 33, 255, 256, 257, 1000, 70_003)
BOUNDS = ((0.0, math.inf), (-math.inf, -0.0), (-1.0, 1.0), (0.1, 6.0), (1.0, 1.0), (math.nan, 1.0), (-1e300, 65510.0))
EDGES = [0.0, -0.0, 0.1, 1.0, -1.0, 6.0, math.inf, -math.inf, math.nan, 65504.0, 3e38, 1e-45, -1e-45, 6e-8, -6e-8]


def scalar(value: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor(value, dtype=torch.float64).to(dtype)


def decoded(decode: Callable[..., None], codes: Tensor, *how: float, size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """What an operator that decodes into a tensor writes to one that held something else."""
    out = torch.ones(size, dtype=dtype)
    decode(out, codes, *how)
    return out


def floats(numel: int, dtype: torch.dtype) -> Tensor:
    """Normal numbers, every third of them an edge case; NaN with both signs."""
    x = op_cases.random(numel, torch.float64)
    x[::3] = op_cases.special(EDGES, numel, torch.float64)[::3]
    x[1::7].copysign_(torch.tensor(-1.0))
    return x.to(dtype)


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("numel", SIZES)
def test_mask_is_what_torch_compares(numel: int, dtype: torch.dtype, instruction_set: str) -> None:
    x = floats(numel, dtype)
    for low, high in BOUNDS:
        expected = (x > scalar(low, dtype)) & (x < scalar(high, dtype))
        codes = encode_mask(x, low, high)
        assert codes.numel() == 4 * -(-numel // 32)
        assert torch.equal(codes, reference_exact.encode_mask(x, low, high))
        assert torch.equal(decoded(decode_mask_into, codes, 0.0, 1.0, size=[numel], dtype=torch.bool), expected)
        for to in op_cases.DTYPES:
            values = torch.where(expected, scalar(1 / 0.9, to), scalar(-0.3, to))
            for decode in (decode_mask_into, reference_exact.decode_mask_into):
                assert op_cases.same_bits(decoded(decode, codes, -0.3, 1 / 0.9, size=[numel], dtype=to), values)


@pytest.mark.parametrize("numel", SIZES)
def test_mask_of_bool(numel: int, instruction_set: str) -> None:
    x = op_cases.random(numel, torch.float32) > 1
    for low, high, expected in ((0.0, math.inf, x), (0.5, 1.0, torch.zeros_like(x)), (-1.0, 1.0, ~x)):
        codes = encode_mask(x, low, high)
        assert torch.equal(codes, reference_exact.encode_mask(x, low, high))
        for decode in (decode_mask_into, reference_exact.decode_mask_into):
            assert torch.equal(decoded(decode, codes, 0.0, 1.0, size=[numel], dtype=torch.bool), expected)


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize(("off", "on"), [(0.0, 1.0), (0.0, 1 / 0.9), (-0.0, 3e38), (0.01, 1.0), (-1.0, 2.0)])
def test_apply_mask(off: float, on: float, dtype: torch.dtype, instruction_set: str) -> None:
    for numel in SIZES:
        x = floats(numel, dtype)
        bits = op_cases.random(numel, torch.float32, seed=7) > 1
        codes = encode_mask(bits, 0.0, math.inf)
        low, high = scalar(off, dtype), scalar(on, dtype)
        expected = torch.where(bits, x * high, x * low if off else torch.zeros_like(x))
        for apply in (apply_mask_, reference_exact.apply_mask_):
            out = x.clone()
            apply(out, codes, off, on)
            assert op_cases.same_bits(out, expected)


@pytest.mark.parametrize("dtype", checks.INTEGER_DTYPES)
@pytest.mark.parametrize("bits", checks.INTEGER_WIDTHS)
def test_integers_come_back(bits: int, dtype: torch.dtype, instruction_set: str) -> None:
    limits = torch.iinfo(dtype)
    top = min(limits.max - limits.min, 2**bits - 1)
    for numel in SIZES:
        offsets = torch.randint(0, top + 1, (numel,), generator=torch.Generator().manual_seed(bits))
        offsets[: numel // 2 : 5], offsets[1 : numel // 2 : 5] = 0, top
        for minimum in (limits.min, limits.max - top):
            x = (offsets + minimum).to(dtype)
            codes = encode_integers(x, minimum, bits)
            assert codes.numel() == 4 * bits * -(-numel // 32)
            assert torch.equal(codes, reference_exact.encode_integers(x, minimum, bits))
            for decode in (decode_integers_into, reference_exact.decode_integers_into):
                assert torch.equal(decoded(decode, codes, minimum, bits, size=[numel], dtype=dtype), x)


@settings(max_examples=80, deadline=None)
@given(
    numel=st.integers(0, 900),
    dtype=st.sampled_from(checks.INTEGER_DTYPES),
    bits=st.sampled_from(checks.INTEGER_WIDTHS),
    minimum=st.integers(-(2**63), 2**63 - 1),
)
def test_integers_out_of_range_keep_their_lower_bits(numel: int, dtype: torch.dtype, bits: int, minimum: int) -> None:
    limits = torch.iinfo(dtype)
    x = torch.linspace(limits.min, limits.max, numel, dtype=torch.float64).to(dtype)
    codes = reference_exact.encode_integers(x, minimum, bits)
    back = decoded(reference_exact.decode_integers_into, codes, minimum, bits, size=[numel], dtype=dtype)
    before = cpu.status().instruction_set
    try:
        for name in cpu.available():
            cpu.use_instruction_set(name)
            assert torch.equal(encode_integers(x, minimum, bits), codes), name
            again = decoded(decode_integers_into, codes, minimum, bits, size=[numel], dtype=dtype)
            assert torch.equal(again, back), name
    finally:
        if before:
            cpu.use_instruction_set(before)


def test_layouts_of_exact_codes() -> None:
    """Codes are those of the elements in memory order; gaps are copied away first."""
    images = op_cases.random(2 * 3 * 5 * 7, torch.float32).view(2, 3, 5, 7).to(memory_format=torch.channels_last)
    codes = encode_mask(images, 0.0, math.inf)
    assert torch.equal(codes, encode_mask(images.permute(0, 2, 3, 1), 0.0, math.inf))
    out = images.clone()
    apply_mask_(out, codes, 0.0, 1.0)
    assert torch.equal(out, images.relu())
    decode_mask_into(out, codes, 0.0, 1.0)
    assert torch.equal(out, (images > 0).float())
    sliced = images[:, 1:, ::2]
    assert torch.equal(encode_mask(sliced, 0.0, 1.0), encode_mask(torch.empty_like(sliced).copy_(sliced), 0.0, 1.0))
    indices = (images * 10).to(torch.int64)[:, ::2]
    dense = torch.empty_like(indices).copy_(indices)
    low, bits = int(indices.min()), 8
    codes = encode_integers(indices, low, bits)
    dense.zero_()
    decode_integers_into(dense, codes, low, bits)
    assert torch.equal(dense, indices)


def test_bytes_of_exact_codes() -> None:
    """Element k of a full group is bit k // 32 of byte k % 32; integers of 16 bits are little endian."""
    x = torch.zeros(300)
    x[33] = x[70] = x[257] = 1.0
    codes = encode_mask(x, 0.0, math.inf).tolist()
    assert {i: byte for i, byte in enumerate(codes) if byte} == {1: 0b10, 6: 0b100, 33: 0b1}
    assert encode_integers(torch.tensor([5, 263]), 3, 16).tolist() == [2, 0, 4, 1] + [0] * 60
    assert encode_integers(torch.tensor([5, 2**32 + 2]), 3, 32).tolist() == [2, 0, 0, 0, 255, 255, 255, 255] + [0] * 120

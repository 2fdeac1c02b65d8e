"""The C++ kernels of every instruction set against the reference kernels, bit for bit."""

from __future__ import annotations

import math

import op_cases
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gact.ops import cpu
from gact.ops.reference import groups as reference

pytestmark = pytest.mark.skipif(not cpu.available(), reason="the C++ extension is not built")

quantize = torch.ops.gact.quantize.default
dequantize = torch.ops.gact.dequantize.default
GROUP_SIZES = (32, 64, 128, 256, 512, 1024)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """A vector: normal values times a magnitude, some of its elements replaced by special ones."""
    dtype = draw(st.sampled_from(op_cases.DTYPES))
    numel = draw(st.one_of(st.integers(0, 70), st.integers(0, 2600)))
    magnitude = draw(st.sampled_from([1.0, 1e-3, 2e4, 1e-38, 1e25, 0.0]))
    x = op_cases.random(numel, torch.float64, seed=draw(st.integers(0, 2**32))) * magnitude
    x += draw(st.sampled_from([0.0, 0.0, -1.0, 1e3]))
    for values in draw(st.lists(st.sampled_from(sorted(op_cases.SPECIALS)), max_size=2)):
        special = op_cases.special(op_cases.SPECIALS[values], numel, torch.float64)
        start = draw(st.integers(0, max(numel - 1, 0)))
        stop = draw(st.sampled_from([start + 1, start + 40, numel]))
        x[start:stop] = special[start:stop]
    return x.to(dtype)


def check(x: Tensor, bits: int, group_size: int, seed: int, rounding: int, instruction_set: str) -> None:
    arguments = (bits, group_size, seed, rounding)
    expected_codes, expected_metadata = reference.quantize(x, *arguments)
    codes, metadata = quantize(x, *arguments)
    assert op_cases.same_bits(metadata, expected_metadata), instruction_set
    assert op_cases.same_bits(codes, expected_codes), instruction_set
    for dtype in op_cases.DTYPES:
        layout = (x.shape, x.stride(), dtype, seed)
        expected = reference.dequantize(codes, metadata, bits, group_size, *layout)
        assert op_cases.same_bits(dequantize(codes, metadata, bits, group_size, *layout), expected), instruction_set


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    x=tensors(),
    bits=st.integers(1, 8),
    group_size=st.sampled_from(GROUP_SIZES),
    seed=st.integers(-(2**63), 2**63 - 1),
    rounding=st.integers(0, 2),
)
def test_any_tensor(x: Tensor, bits: int, group_size: int, seed: int, rounding: int) -> None:
    before = cpu.status().instruction_set
    try:
        for name in cpu.available():
            cpu.use_instruction_set(name)
            check(x, bits, group_size, seed, rounding, name)
    finally:
        cpu.use_instruction_set(before)


@pytest.mark.parametrize("bits", op_cases.WIDTHS)
@pytest.mark.parametrize("dtype", op_cases.DTYPES)
def test_several_threads(bits: int, dtype: torch.dtype, instruction_set: str) -> None:
    check(op_cases.random(150_001, dtype), bits, 256, 5, True, instruction_set)


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("name", op_cases.SPECIALS)
def test_special_values(name: str, dtype: torch.dtype, instruction_set: str) -> None:
    for numel in (1, 45, 300):
        for rounding in range(3):
            check(op_cases.special(op_cases.SPECIALS[name], numel, dtype), 3, 64, 1, rounding, instruction_set)


def test_every_half(instruction_set: str) -> None:
    """All float16 values in, and all of them out."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    check(x, 8, 32, 0, False, instruction_set)
    single = x.repeat_interleave(32)
    codes, metadata = quantize(single, 1, 32, 0, False)
    back = dequantize(codes, metadata, 1, 32, single.shape, single.stride(), torch.float16)
    assert op_cases.same_bits(back, torch.where(single.isfinite(), single + 0, torch.nan))


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
def test_large_memory(dtype: torch.dtype, instruction_set: str) -> None:
    """From 32 MiB on results are written past the caches, if the memory is aligned."""
    numel = 2**25 // dtype.itemsize + 45
    x = op_cases.random(numel, torch.float32).to(dtype)
    x[:256], x[300], x[700:800] = math.pi, math.nan, x[700]
    codes, metadata = quantize(x, 3, 256, 9, True)
    expected = dequantize(codes, metadata, 3, 256, [numel], [1], dtype)
    assert op_cases.same_bits(
        expected[:2000], reference.dequantize(codes[:768], metadata[:8], 3, 256, [2048], [1], dtype)[:2000]
    )
    buffer = torch.zeros(numel + 1, dtype=dtype)
    for out in (buffer[:-1], buffer[1:]):
        torch.ops.gact.dequantize_into.default(out, codes, metadata, 3, 256)
        assert op_cases.same_bits(out, expected)


def test_unaligned_memory(instruction_set: str) -> None:
    """Codes and elements may start anywhere: in a slice of a larger buffer, say."""
    x = op_cases.random(1003, torch.float32)[3:]
    codes, metadata = quantize(x, 5, 64, 9, True)
    buffer = torch.zeros(codes.numel() + 1, dtype=torch.uint8)
    buffer[1:] = codes
    out = torch.zeros(1001)[1:]
    torch.ops.gact.dequantize_into.default(out, buffer[1:], metadata, 5, 64)
    assert torch.equal(out, reference.dequantize(codes, metadata, 5, 64, [1000], [1], torch.float32))

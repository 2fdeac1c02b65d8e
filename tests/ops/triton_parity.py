"""The Triton kernels against the reference kernels, bit for bit: in Triton's interpreter, or on a device.

    TRITON_INTERPRET=1 python tests/ops/triton_parity.py quantize

runs one of the checks in the interpreter. ``test_triton_interpreted.py`` does so in processes of their own, since
Triton reads that variable when it is imported; ``test_triton_device.py`` runs the checks on a GPU.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import op_cases
import torch
from torch import Tensor

import gact  # noqa: F401 - defines the operators
from gact.ops import checks
from gact.ops.reference import exact as reference_exact
from gact.ops.reference import groups as reference
from gact.ops.reference import rebuild as reference_rebuild
from gact.ops.triton import kernels

GROUP_SIZES = (32, 64, 128, 256, 512, 1024)
SEEDS = (-(2**63), -1, 0, 1, 2**31, 2**63 - 1)
EDGES = [0.0, -0.0, 0.1, 1.0, -1.0, 6.0, math.inf, -math.inf, math.nan, 65504.0, 3e38, 1e-45, -6e-8]
BOUNDS = ((0.0, math.inf), (-math.inf, -0.0), (0.1, 6.0), (math.nan, 1.0), (-1e300, 65510.0))
FACTORS = ((0.0, 1 / 0.9), (-0.0, 3e38), (0.01, -1.0))


def same(found: Tensor, expected: Tensor, *what: object) -> None:
    found = found.cpu()
    equal = torch.equal(found, expected) if found.dtype == torch.bool else op_cases.same_bits(found, expected)
    assert equal, what


def round_trip(
    x: Tensor,
    bits: int,
    group_size: int,
    seed: int,
    device: str,
    dtypes: tuple[torch.dtype, ...],
    roundings: tuple[int, ...] = (0, 1, 2),
) -> None:
    """Codes and metadata of some roundings, and what those of the last one decode to."""
    there = x.to(device)
    for rounding in roundings:
        what = (x.dtype, x.numel(), bits, group_size, seed, checks.ROUNDINGS[rounding])
        codes, metadata = kernels()["quantize"](there, bits, group_size, seed, rounding)
        expected, fields = reference.quantize(x, bits, group_size, seed, rounding)
        same(metadata, fields, "metadata", *what)
        same(codes, expected, "codes", *what)
    for dtype in dtypes:
        layout = (bits, group_size, x.shape, x.stride(), dtype, seed)
        decoded = kernels()["dequantize"](codes, metadata, *layout)
        same(decoded, reference.dequantize(expected, fields, *layout), "decoded", dtype, *what)


def quantize(device: str) -> None:
    """Every width and dtype, the group sizes and the lengths of the last group in turns."""
    for n, dtype in enumerate(op_cases.DTYPES):
        for bits in op_cases.WIDTHS:
            group_size = GROUP_SIZES[(bits + n) % 6]
            numel = group_size * (1 + bits % 2) + (bits * 37 + n) % group_size
            dtypes = (dtype, op_cases.DTYPES[(bits + n) % 4])[: 1 + bits % 2]
            roundings = (2,) if (bits + n) % 2 else (bits // 2 % 2, 2)
            x = op_cases.random(numel, dtype, bits)
            round_trip(x, bits, group_size, SEEDS[bits % 6], device, dtypes, roundings)


def lengths(device: str) -> None:
    """Few elements, around the limits of padding and groups; many programs; every seed; memory that is not aligned."""
    for numel in (0, 1, 31, 32, 33, 63, 64, 65, 4096, 33 * 64 * 3 + 1):
        round_trip(op_cases.random(numel, torch.float32), 5, 64, 3, device, (torch.float32,), (2,))
    for seed in SEEDS:
        round_trip(op_cases.random(400, torch.float32), 3, 256, seed, device, (), (1, 2))
    x = op_cases.random(1003, torch.float32)
    round_trip(x[3:], 6, 128, 1, device, (torch.float32,))
    channels_last = x[:1000].view(2, 5, 10, 10).to(memory_format=torch.channels_last)
    round_trip(channels_last, 4, 64, 1, device, (torch.bfloat16,))
    codes, metadata = reference.quantize(x, 5, 64, 9, 1)
    buffer = torch.zeros(codes.numel() + 1, dtype=torch.uint8, device=device)
    buffer[1:] = codes
    fields = torch.zeros(metadata.numel() + 1, dtype=metadata.dtype, device=device)
    fields[1:] = metadata.flatten()
    out = torch.zeros(1004, device=device)
    kernels()["dequantize_into"](out[1:], buffer[1:], fields[1:].view(-1, 2), 5, 64)
    same(out[1:], reference.dequantize(codes, metadata, 5, 64, [1003], [1], torch.float32), "not aligned")


def specials(device: str) -> None:
    """Constant and poisoned groups, subnormal numbers, the largest ones: in full and in short groups."""
    for n, dtype in enumerate(op_cases.DTYPES):
        full = torch.cat([op_cases.special(values, 64, dtype) for values in op_cases.SPECIALS.values()])
        for k, bits in enumerate((1, 3, 8)):
            dtypes = [op_cases.DTYPES[(n + k + at) % 4] for at in range(2)]  # each with each over the widths
            round_trip(full, bits, 64, bits, device, tuple(dtypes), (0, 2))
    for n, values in enumerate(op_cases.SPECIALS.values()):
        dtype = op_cases.DTYPES[n % 4]
        round_trip(op_cases.special(values, 13, dtype), n % 8 + 1, 32, 1, device, (dtype,), (2,))


def every_half(device: str) -> None:
    """All float16 values in, and all of them out."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    round_trip(x, 8, 32, 0, device, (torch.float16, torch.bfloat16))
    round_trip(x.repeat_interleave(32)[: 2**17], 1, 32, 0, device, (torch.float16,))


def masks(device: str) -> None:
    """Encoding, decoding and applying, of every dtype."""
    for dtype in (*op_cases.DTYPES, torch.bool):
        for numel in (0, 33, 300):
            x = op_cases.random(numel, torch.float64)
            x[::3] = op_cases.special(EDGES, numel, torch.float64)[::3]
            x = x > 1 if dtype == torch.bool else x.to(dtype)
            for bounds in BOUNDS:
                expected = reference_exact.encode_mask(x, *bounds)
                same(kernels()["encode_mask"](x.to(device), *bounds), expected, "encode_mask", dtype, numel, bounds)
            bits = reference_exact.encode_mask(op_cases.random(numel, torch.float32, 7), 1.0, math.inf)
            for factors in FACTORS:
                _apply(x, bits, factors, device)


def _apply(x: Tensor, bits: Tensor, factors: tuple[float, float], device: str) -> None:
    found, expected = x.to(device, copy=True), x.clone()
    kernels()["decode_mask_into"](found, bits.to(device), *factors)
    reference_exact.decode_mask_into(expected, bits, *factors)
    same(found, expected, "decode_mask_into", x.dtype, x.numel(), factors)
    if x.dtype != torch.bool:
        found, expected = x.to(device, copy=True), x.clone()
        kernels()["apply_mask_"](found, bits.to(device), *factors)
        reference_exact.apply_mask_(expected, bits, *factors)
        same(found, expected, "apply_mask_", x.dtype, x.numel(), factors)


def integers(device: str) -> None:
    """Every dtype and width, in range and out of it."""
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8):
        limits = torch.iinfo(dtype)
        for bits in (1, 2, 4, 8, 16, 32):
            for numel in (0, 45, 301):
                x = torch.randint(limits.min, limits.max, (numel,), dtype=dtype, generator=generator)
                minimum = (limits.min, 5)[numel % 2]
                what = (dtype, bits, numel)
                codes = reference_exact.encode_integers(x, minimum, bits)
                same(kernels()["encode_integers"](x.to(device), minimum, bits), codes, "encode_integers", *what)
                found, expected = x.to(device, copy=True).zero_(), torch.zeros_like(x)
                kernels()["decode_integers_into"](found, codes.to(device), minimum, bits)
                reference_exact.decode_integers_into(expected, codes, minimum, bits)
                same(found, expected, "decode_integers_into", *what)


def rebuild(device: str) -> None:
    """Every kind of line, with and without sum and mask, of every dtype, full and short groups."""
    for n, (lines, group_size) in enumerate((lines, size) for lines in op_cases.LINES for size in (32, 256, 1024)):
        code = (n % 8 + 1, group_size)
        case = op_cases.rebuild_case(1085 + 37 * n, checks.REBUILT_DTYPES[n % 3], code, lines, n % 4 != 0, n % 5 != 0)
        expected, found = case.out.clone(), case.out.to(device, copy=True)
        reference_rebuild.rebuild_into(expected, *case.arguments)
        kernels()["rebuild_into"](found, *case.on(device))
        same(found, expected, "rebuild_into", code, lines, case.out.dtype)


def rebuild_sum(device: str) -> None:
    """Two terms and three, with other widths, groups, lines and masks."""
    for n, numel in enumerate((1085, 300, 2048)):
        terms = [
            op_cases.rebuild_case(
                numel, checks.REBUILT_DTYPES[n], (n + k + 1, 32 << 2 * k), op_cases.LINES[n + 3 * k], k % 2 == 0, n == 1
            )
            for k in range(2 + n % 2)
        ]
        case = op_cases.sum_case(terms)
        expected, found = case.out.clone(), case.out.to(device, copy=True)
        reference_rebuild.rebuild_sum_into(expected, *case.arguments)
        kernels()["rebuild_sum_into"](found, *case.on(device))
        same(found, expected, "rebuild_sum_into", numel, case.out.dtype)


CHECKS: dict[str, Callable[[str], None]] = {
    check.__name__: check for check in (quantize, lengths, specials, rebuild, rebuild_sum, masks, integers)
}
DEVICE_CHECKS = {**CHECKS, "every_half": every_half}
"""With those that take minutes in the interpreter."""


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        CHECKS[name]("cpu")

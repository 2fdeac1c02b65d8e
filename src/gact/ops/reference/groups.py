"""The group code in plain torch: ``docs/codes.md`` made executable, and the kernel of any device without its own.

Full groups are the rows of a matrix and a short last group is a matrix of one row, so that every step is written once.
All integers are int64, masked to the 32 or 64 bits that the page speaks of.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import checks
from .bits import memory_order, pack_rows, split_groups, unpack_rows
from .metadata import group_metadata, is_constant, join_value, lower_half, read_metadata
from .random import FRACTION, rounding_bits, shared_bits

_NEAREST, _STOCHASTIC, _DITHERED = range(len(checks.ROUNDINGS))
JUDGED = 64
"""How many elements of a group tell whether dither pays."""


def _encode(
    rows: Tensor, first_group: int, bits: int, group_size: int, seed: int, rounding: int
) -> tuple[Tensor, Tensor]:
    """Packed codes [rows, bytes] and metadata [rows, 2] of groups of one length."""
    real = rows if rows.dtype == torch.float64 else rows.float()
    metadata = group_metadata(real, bits)
    minimum, scale = read_metadata(metadata, real.dtype)
    levels = 2**bits - 1
    q = (real - minimum) * (torch.ones_like(scale) / scale)
    t = torch.round(q * 2**FRACTION).nan_to_num(0.0, 0.0, 0.0).clamp(0, levels * 2**FRACTION).to(torch.int64)
    special = is_constant(metadata) | scale.isnan()
    if rounding == _NEAREST:
        r: Tensor | int = 2 ** (FRACTION - 1)
    else:
        r = rounding_bits(seed, first_group, (rows.shape[0], rows.shape[1]), group_size, rows.device)
    if rounding == _DITHERED:
        pays = _dither_pays(t) & ~special
        shared = shared_bits(seed, first_group, (rows.shape[0], rows.shape[1]), rows.device)
        r = torch.where(pays, shared << (FRACTION - 2) | r & (2 ** (FRACTION - 2) - 1), r)
        metadata[:, 1:] = torch.where(pays, -metadata[:, 1:], metadata[:, 1:])
    packed = pack_rows(((t + r) >> FRACTION).to(torch.uint8), bits)
    packed = torch.where(special, 0, packed)
    rest = torch.where(is_constant(metadata), lower_half(real[:, :1]), 0)
    packed[:, : rest.shape[1]] += rest
    return packed, metadata


def _dither_pays(t: Tensor) -> Tensor:
    """Whether dither leaves less variance in each group than plain stochastic rounding, as a column."""
    f = t[:, :JUDGED] & (2**FRACTION - 1)
    spread = ((f * (2**FRACTION - f)) >> FRACTION).sum(dim=1, keepdim=True)
    pays: Tensor = 192 * spread > 17 * 2**FRACTION * f.shape[1]
    return pays


def _decode(
    packed: Tensor, metadata: Tensor, first_group: int, bits: int, length: int, dtype: torch.dtype, seed: int
) -> Tensor:
    """Elements [rows, length] of groups of one length."""
    real_dtype = torch.float64 if metadata.dtype == torch.float32 else torch.float32
    minimum, scale = read_metadata(metadata, real_dtype)
    codes = unpack_rows(packed, bits, length).to(torch.int64)
    shared = shared_bits(seed, first_group, (packed.shape[0], length), packed.device)
    dithered = minimum + (8 * codes + 3 - 2 * shared).to(real_dtype) * (scale.abs() / 8)
    real = torch.where(scale < 0, dithered, minimum + codes.to(real_dtype) * scale)
    real = torch.where(is_constant(metadata), join_value(metadata, packed), real)
    if dtype == torch.float16:
        real = real.clamp(-65504.0, 65504.0)
    return real.to(dtype)


@torch.no_grad()
def quantize(x: Tensor, bits: int, group_size: int, seed: int, rounding: int) -> tuple[Tensor, Tensor]:
    """Codes and metadata of a tensor, its elements taken in memory order (of a dense copy, if it has gaps or overlaps).

    Args:
        x: Any strided tensor of a dtype in ``checks.DTYPES``.
        bits: Width of a code, 1 to 8.
        group_size: Elements per group, a power of two from 32 to 1024.
        seed: Key of the random stream, any int64; unused with nearest rounding.
        rounding: 0 to the nearest code, 1 at random so that the expectation is right, 2 the same with dither that
            ``dequantize`` takes away again, in groups where that pays.

    Returns:
        Codes, uint8 ``[code_bytes]``, and metadata ``[groups, 2]``.
    """
    checks.check_code(bits, group_size)
    checks.check_rounding(rounding)
    checks.check_dtype(x.dtype)
    x = x.clone() if not checks.is_dense(x.shape, x.stride()) else x
    codes, metadata = [], []
    for rows, first_group in split_groups(memory_order(x), group_size):
        packed, fields = _encode(rows, first_group, bits, group_size, seed, rounding)
        codes.append(packed.flatten())
        metadata.append(fields)
    if not codes:
        return x.new_empty(0, dtype=torch.uint8), x.new_empty((0, 2), dtype=checks.metadata_dtype(x.dtype))
    return torch.cat(codes), torch.cat(metadata)


@torch.no_grad()
def dequantize_into(out: Tensor, codes: Tensor, metadata: Tensor, bits: int, group_size: int, seed: int = 0) -> None:
    """Decode into a dense tensor, in its memory order.

    Args:
        out: Dense tensor with as many elements as were quantized, of a dtype in ``checks.DTYPES``.
        codes: As ``quantize`` returned them.
        metadata: As ``quantize`` returned it.
        bits: As given to ``quantize``.
        group_size: As given to ``quantize``.
        seed: As given to ``quantize``; read where groups are dithered.

    Raises:
        ValueError: If the arguments do not fit together.
    """
    checks.check_code(bits, group_size)
    checks.check_dtype(out.dtype)
    checks.check_dense(out, "out")
    checks.check_bytes(codes, "codes", checks.code_bytes(out.numel(), bits))
    checks.check_metadata(metadata, checks.group_count(out.numel(), group_size))
    done = 0
    for rows, first_group in split_groups(memory_order(out), group_size):
        count, length = rows.shape
        size = checks.code_bytes(length, bits)
        packed = codes[done : done + count * size].view(count, size)
        fields = metadata[first_group : first_group + count]
        rows.copy_(_decode(packed, fields, first_group, bits, length, out.dtype, seed))
        done += count * size


def dequantize(
    codes: Tensor,
    metadata: Tensor,
    bits: int,
    group_size: int,
    size: Sequence[int],
    stride: Sequence[int],
    dtype: torch.dtype,
    seed: int = 0,
) -> Tensor:
    """The tensor that codes stand for, in a fresh tensor of that size, stride and dtype.

    Args:
        codes: As ``quantize`` returned them.
        metadata: As ``quantize`` returned it.
        bits: As given to ``quantize``.
        group_size: As given to ``quantize``.
        size: Size of the result.
        stride: Stride of the result, dense and in the order of dimensions of the quantized tensor.
        dtype: Dtype of the result.
        seed: As given to ``quantize``; read where groups are dithered.

    Returns:
        The decoded tensor.

    Raises:
        ValueError: If the arguments do not fit together.
    """
    checks.check_dtype(dtype)
    checks.check_layout(size, stride)
    out = torch.empty_strided(size, stride, dtype=dtype, device=codes.device)
    dequantize_into(out, codes, metadata, bits, group_size, seed)
    return out


def count_poisoned(metadata: Tensor) -> int:
    """How many groups held NaN, an infinity or a magnitude of 2^100 and more, and decode to NaN. Waits for the device.

    Args:
        metadata: As ``quantize`` returned it.

    Raises:
        ValueError: If that is no metadata.
    """
    checks.check_metadata(metadata, metadata.shape[0] if metadata.dim() else 0)
    return int(metadata[:, 1].isnan().sum())


KERNELS = (quantize, dequantize, dequantize_into, count_poisoned)

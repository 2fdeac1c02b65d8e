"""Schemas, fakes and argument checks of the operators; what they compute is specified in ``docs/codes.md``.

The kernels are elsewhere: ``reference.py`` (plain torch, any device) and ``csrc/`` (C++, CPU).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SCHEMAS = (
    "quantize(Tensor x, int bits, int group_size, int seed, bool stochastic) -> (Tensor codes, Tensor metadata)",
    "dequantize(Tensor codes, Tensor metadata, int bits, int group_size, SymInt[] size, SymInt[] stride, "
    "ScalarType dtype) -> Tensor",
    "dequantize_into(Tensor(a!) out, Tensor codes, Tensor metadata, int bits, int group_size) -> ()",
    "pack_bits(Tensor codes, int bits, int group_size) -> Tensor",
    "unpack_bits(Tensor packed, int bits, int group_size, SymInt numel) -> Tensor",
)
NAMES = tuple(schema.partition("(")[0] for schema in SCHEMAS)

WIDTHS = range(1, 9)
GROUP_SIZES = (32, 64, 128, 256, 512, 1024)
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
PADDING = 32
"""A short group is packed as if it had a multiple of this many elements."""

LIBRARY = torch.library.Library("gact", "DEF")


def code_bytes(numel: int, bits: int) -> int:
    """Bytes that the codes of ``numel`` elements take, all groups together."""
    return 4 * bits * -(-numel // PADDING)


def group_count(numel: int, group_size: int) -> int:
    """Groups that ``numel`` elements make; the last may be short."""
    return -(-numel // group_size)


def metadata_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype of minimum and scale for codes of a tensor of ``dtype``."""
    return torch.float32 if dtype == torch.float64 else torch.bfloat16


def check_code(bits: int, group_size: int) -> None:
    """Raise ValueError unless width and group size are ones the code has."""
    if not isinstance(bits, int | torch.SymInt) or bits not in WIDTHS:
        raise ValueError(f"bits must be a whole number from 1 to 8, got {bits}.")
    if group_size not in GROUP_SIZES:
        raise ValueError(f"group_size must be a power of two from 32 to 1024, got {group_size}.")


def check_dtype(dtype: torch.dtype) -> None:
    """Raise ValueError unless elements of ``dtype`` can be quantized."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be float32, float16, bfloat16 or float64, got {dtype}. Convert the tensor first.")


def check_layout(size: Sequence[int], stride: Sequence[int]) -> None:
    """Raise ValueError unless a result can be written in that size and stride."""
    if len(size) != len(stride) or not is_dense(size, stride):
        raise ValueError(
            f"size and stride must describe a tensor without gaps or overlaps, got {list(size)} and {list(stride)}. "
            "Use the stride of torch.empty_like(x)."
        )


def check_bytes(tensor: Tensor, name: str, expected: int) -> None:
    """Raise ValueError unless ``tensor`` is a contiguous vector of that many bytes."""
    if tensor.dtype != torch.uint8 or tensor.dim() != 1 or not tensor.is_contiguous():
        raise ValueError(
            f"{name} must be a contiguous one-dimensional uint8 tensor, got {tensor.dtype} of shape {list(tensor.shape)}. "
            "Pass what quantize or pack_bits returned."
        )
    if tensor.numel() != expected:
        raise ValueError(f"{name} must have {expected} bytes for this size, bits and group_size, got {tensor.numel()}.")


def check_metadata(metadata: Tensor, groups: int) -> None:
    """Raise ValueError unless ``metadata`` can be that of so many groups."""
    if metadata.dtype not in (torch.bfloat16, torch.float32):
        raise ValueError(
            f"metadata must be bfloat16 (float32 for codes of float64 tensors), got {metadata.dtype}. "
            "Pass what quantize returned."
        )
    if tuple(metadata.shape) != (groups, 2) or not metadata.is_contiguous():
        raise ValueError(
            f"metadata must be contiguous with shape [{groups}, 2] for this size and group_size, "
            f"got {list(metadata.shape)}."
        )


def is_dense(size: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether a tensor of that size and stride has neither gaps nor overlaps, in any order of its dimensions."""
    if 0 in size:
        return True
    expected = 1
    for step, extent in sorted((step, extent) for extent, step in zip(size, stride, strict=True) if extent != 1):
        if step != expected:
            return False
        expected *= extent
    return True


def _fake_quantize(x: Tensor, bits: int, group_size: int, seed: int, stochastic: bool) -> tuple[Tensor, Tensor]:
    check_code(bits, group_size)
    check_dtype(x.dtype)
    numel = x.numel()
    codes = x.new_empty((code_bytes(numel, bits),), dtype=torch.uint8)
    return codes, x.new_empty((group_count(numel, group_size), 2), dtype=metadata_dtype(x.dtype))


def _fake_dequantize(
    codes: Tensor,
    metadata: Tensor,
    bits: int,
    group_size: int,
    size: Sequence[int],
    stride: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:
    check_code(bits, group_size)
    check_dtype(dtype)
    return codes.new_empty_strided(size, stride, dtype=dtype)


def _fake_dequantize_into(out: Tensor, codes: Tensor, metadata: Tensor, bits: int, group_size: int) -> None:
    check_code(bits, group_size)
    check_dtype(out.dtype)


def _fake_pack_bits(codes: Tensor, bits: int, group_size: int) -> Tensor:
    check_code(bits, group_size)
    return codes.new_empty((code_bytes(codes.numel(), bits),))


def _fake_unpack_bits(packed: Tensor, bits: int, group_size: int, numel: int) -> Tensor:
    check_code(bits, group_size)
    return packed.new_empty((numel,))


def define() -> None:
    """Define the operators and their fakes, and keep autograd out: codes have no gradient."""
    fakes: dict[str, Any] = {
        "quantize": _fake_quantize,
        "dequantize": _fake_dequantize,
        "dequantize_into": _fake_dequantize_into,
        "pack_bits": _fake_pack_bits,
        "unpack_bits": _fake_unpack_bits,
    }
    for schema, name in zip(SCHEMAS, NAMES, strict=True):
        LIBRARY.define(schema)
        torch.library.register_fake(f"gact::{name}", fakes[name], lib=LIBRARY)
        LIBRARY.impl(name, torch.library.fallthrough_kernel, "Autograd")

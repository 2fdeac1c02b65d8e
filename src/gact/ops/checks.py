"""What the operators accept, and how large their results are; the codes are specified in ``docs/codes.md``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

WIDTHS = range(1, 9)
GROUP_SIZES = (32, 64, 128, 256, 512, 1024)
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
REBUILT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ROUNDINGS = ("nearest", "stochastic", "dithered")
MASK_DTYPES = (*DTYPES, torch.bool)
INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)
INTEGER_WIDTHS = (1, 2, 4, 8, 16, 32)
EXACT_GROUP = 256
"""Elements per group of masks and integers."""
PADDING = 32
"""A short group is packed as if it had a multiple of this many elements."""


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


def check_rounding(rounding: int) -> None:
    """Raise ValueError unless it is one of ``ROUNDINGS`` by number."""
    if rounding not in range(len(ROUNDINGS)):
        raise ValueError(f"rounding must be 0 (nearest), 1 (stochastic) or 2 (dithered), got {rounding}.")


def check_dtype(dtype: torch.dtype) -> None:
    """Raise ValueError unless elements of ``dtype`` can be quantized."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be float32, float16, bfloat16 or float64, got {dtype}. Convert the tensor first.")


def check_bend(out: Tensor, x: Tensor) -> None:
    """Raise ValueError unless elements of ``x`` can be bent into ``out``."""
    check_dtype(x.dtype)
    real = torch.float64 if x.dtype == torch.float64 else torch.float32
    if out.dtype != real or out.shape != x.shape or not (out.is_contiguous() and x.is_contiguous()):
        raise ValueError(
            f"out must be {real} for x of {x.dtype}, and both contiguous and of one shape, got {out.dtype} of shape "
            f"{list(out.shape)} for {list(x.shape)}."
        )


def check_mask_dtype(dtype: torch.dtype) -> None:
    """Raise ValueError unless elements of ``dtype`` can be held as a mask."""
    if dtype not in MASK_DTYPES:
        raise ValueError(
            f"dtype must be float32, float16, bfloat16, float64 or bool, got {dtype}. Convert the tensor first."
        )


def check_integers(bits: int, dtype: torch.dtype) -> None:
    """Raise ValueError unless integers of ``dtype`` can be held in that width."""
    if bits not in INTEGER_WIDTHS:
        raise ValueError(f"bits must be 1, 2, 4, 8, 16 or 32, got {bits}.")
    if dtype not in INTEGER_DTYPES:
        raise ValueError(f"dtype must be int64, int32, int16, uint8 or int8, got {dtype}. Convert the tensor first.")


def check_dense(tensor: Tensor, name: str) -> None:
    """Raise ValueError if ``tensor`` has gaps or overlaps."""
    if not is_dense(tensor.shape, tensor.stride()):
        raise ValueError(f"{name} must be a tensor without gaps or overlaps.")


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
            f"{name} must be a contiguous one-dimensional uint8 tensor, got {tensor.dtype} of shape "
            f"{list(tensor.shape)}. Pass what the encoding operator returned."
        )
    if tensor.numel() != expected:
        raise ValueError(f"{name} must have {expected} bytes for this size and code, got {tensor.numel()}.")


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


def check_rebuilt_dtype(dtype: torch.dtype) -> None:
    """Raise ValueError unless elements of ``dtype`` can be rebuilt in one pass."""
    if dtype not in REBUILT_DTYPES:
        raise ValueError(f"dtype must be float32, float16 or bfloat16, got {dtype}.")


def check_rebuild(
    out: Tensor,
    codes: Tensor,
    metadata: Tensor,
    bits: int,
    group_size: int,
    lines: Sequence[Tensor],
    inner: Sequence[int],
    mask: Tensor | None,
) -> None:
    """Raise ValueError unless these arguments of ``rebuild_into`` fit together."""
    check_code(bits, group_size)
    check_rebuilt_dtype(out.dtype)
    check_dense(out, "out")
    check_bytes(codes, "codes", code_bytes(out.numel(), bits))
    check_metadata(metadata, group_count(out.numel(), group_size))
    if metadata.dtype != torch.bfloat16:
        raise ValueError("metadata must be bfloat16: codes of float64 tensors are not rebuilt in one pass.")
    if len(lines) != len(inner) or len(lines) > 2:
        raise ValueError(f"lines must be at most 2 tensors with one inner for each, got {len(lines)} and {len(inner)}.")
    for line, neighbours in zip(lines, inner, strict=True):
        _check_line(line, neighbours)
    if mask is not None:
        check_bytes(mask, "mask", code_bytes(out.numel(), 1))


def terms_of_sum(
    codes: Sequence[Tensor],
    metadata: Sequence[Tensor],
    bits: Sequence[int],
    group_size: Sequence[int],
    seed: Sequence[int],
    lines: Sequence[Tensor],
    inner: Sequence[int],
    line_count: Sequence[int],
    mask: Sequence[Tensor | None],
    on: Sequence[float],
    add: bool,
) -> list[tuple[Any, ...]]:
    """The arguments of ``rebuild_into`` but ``out`` for each term of ``rebuild_sum_into``, whose own these are.

    Args:
        codes: Of each term; so are metadata, bits, group_size and seed, each as for ``rebuild_into``.
        metadata: See codes.
        bits: See codes.
        group_size: See codes.
        seed: See codes.
        lines: Lines of all terms, one after the other.
        inner: Neighbours in one channel of each line.
        line_count: How many of the lines each term has.
        mask: Of each term: bits that the sum up to it is multiplied by, or None.
        on: Of each term: factor where such a bit is 1.
        add: Add the first term to what ``out`` holds, as all others are.

    Raises:
        ValueError: If the lists do not have one entry for each term.
    """
    for each in (metadata, bits, group_size, seed, line_count, mask, on):
        if len(each) != len(codes):
            raise ValueError(
                f"every list but lines and inner must have one entry for each term, got {len(each)} for {len(codes)}."
            )
    if any(count not in range(3) for count in line_count) or not sum(line_count) == len(lines) == len(inner):
        raise ValueError("line_count must be at most 2 for each term and together as many as lines and inner.")
    under = iter(zip(lines, inner, strict=True))
    terms = []
    for n, count in enumerate(line_count):
        own = [*itertools.islice(under, count)]
        code = (codes[n], metadata[n], bits[n], group_size[n], seed[n])
        terms.append((*code, [line for line, _ in own], [each for _, each in own], mask[n], on[n], add or n > 0))
    return terms


def _check_line(line: Tensor, inner: int) -> None:
    shaped = line.dim() == 2 and line.shape[0] == 2 and line.shape[1] > 0
    if line.dtype != torch.float32 or not shaped or not line.is_contiguous():
        raise ValueError(
            "lines must be contiguous float32 tensors of shape [2, channels]: factors, then shifts. "
            f"Got {line.dtype} of shape {list(line.shape)}."
        )
    if inner < 1:
        raise ValueError(f"inner must be positive, got {inner}.")


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

"""Bit packing in plain torch: codes of a group to planes and back. See ``docs/codes.md``, "Bit packing"."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..checks import PADDING


def memory_order(x: Tensor) -> Tensor:
    """The elements of a dense tensor as they lie in memory, without a copy."""
    return x.as_strided((x.numel(),), (1,))


def split_groups(flat: Tensor, group_size: int) -> Iterator[tuple[Tensor, int]]:
    """Full groups as rows, then a short last group as one row, each with the index of its first group."""
    full = flat.numel() // group_size
    if full:
        yield flat[: full * group_size].view(full, group_size), 0
    if flat.numel() > full * group_size:
        yield flat[full * group_size :].view(1, -1), full


def planes(bits: int) -> list[tuple[int, int]]:
    """Width of each plane and how many code bits lie below it."""
    result, shift = [], 0
    for width in (8, 4, 2, 1):
        if bits & width:
            result.append((width, shift))
            shift += width
    return result


def pack_rows(codes: Tensor, bits: int) -> Tensor:
    """Codes [rows, length], one byte each, to packed bytes [rows, 4 * bits * ceil(length / 32)]."""
    rows, length = codes.shape
    codes = torch.nn.functional.pad(codes, (0, -length % PADDING))
    packed = []
    for width, shift in planes(bits):
        sections = ((codes >> shift) & (2**width - 1)).view(rows, 8 // width, -1)
        packed.append(sum((sections[:, s] << (s * width) for s in range(8 // width)), codes.new_zeros(())))
    return torch.cat(packed, dim=1)


def unpack_rows(packed: Tensor, bits: int, length: int) -> Tensor:
    """Packed bytes to codes [rows, length], the inverse of ``pack_rows``."""
    rows = packed.shape[0]
    padded = length + -length % PADDING
    codes = packed.new_zeros((rows, padded))
    done = 0
    for width, shift in planes(bits):
        size = padded * width // 8
        plane = packed[:, done : done + size]
        done += size
        sections = torch.stack([(plane >> (s * width)) & (2**width - 1) for s in range(8 // width)], dim=1)
        codes |= sections.view(rows, padded) << shift
    return codes[:, :length]

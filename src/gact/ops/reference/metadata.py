"""Minimum and scale of groups in plain torch, and the three kinds of group. See ``docs/codes.md``, "Groups".

Groups are rows. A field of the metadata is half as wide as the arithmetic: bfloat16 for float32, float32 for float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LIMIT = 2.0**100
SMALLEST_SCALE = 2.0**-100


def _field_dtype(real: Tensor) -> torch.dtype:
    return torch.float32 if real.dtype == torch.float64 else torch.bfloat16


def _round_down(real: Tensor) -> Tensor:
    """To the field's dtype, toward minus infinity."""
    field = real.to(_field_dtype(real))
    below = torch.nextafter(field, torch.full_like(field, -math.inf))
    return torch.where(field.to(real.dtype) > real, below, field)


def _round_up(real: Tensor) -> Tensor:
    return -_round_down(-real)


def group_metadata(real: Tensor, bits: int) -> Tensor:
    """Minimum and scale [rows, 2] of groups [rows, length] of float32 or float64."""
    smallest = real.amin(dim=1) + 0.0
    largest = real.amax(dim=1) + 0.0
    minimum = _round_down(smallest)
    levels = torch.full_like(largest, 2**bits - 1)
    scale = _round_up((largest - minimum.to(real.dtype)) / levels).clamp(min=SMALLEST_SCALE)
    finite = real.isfinite().all(dim=1)
    constant = finite & (smallest == largest)
    poisoned = ~constant & ~(finite & (smallest > -LIMIT) & (largest < LIMIT))
    minimum = torch.where(constant, upper_half(smallest), minimum)
    scale = torch.where(constant, 0.0, scale)
    return torch.stack((minimum, scale), dim=1).masked_fill(poisoned[:, None], math.nan)


def read_metadata(metadata: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Minimum and scale as columns of the arithmetic's dtype."""
    minimum, scale = metadata.to(dtype).unsqueeze(2).unbind(dim=1)
    return minimum, scale


def is_constant(metadata: Tensor) -> Tensor:
    """Whether each group is constant, as a column."""
    return metadata[:, 1:] == 0


def upper_half(real: Tensor) -> Tensor:
    """The upper half of the bits of each value, as a field."""
    if real.dtype == torch.float64:
        return (real.view(torch.int64) >> 32).to(torch.int32).view(torch.float32)
    return (real.view(torch.int32) >> 16).to(torch.int16).view(torch.bfloat16)


def lower_half(column: Tensor) -> Tensor:
    """The lower half of the bits of each value of a column, as bytes, lowest first."""
    column = column + 0.0
    integers = column.view(torch.int64 if column.dtype == torch.float64 else torch.int32)
    size = column.element_size() // 2
    return torch.cat([((integers >> (8 * i)) & 0xFF).to(torch.uint8) for i in range(size)], dim=1)


def join_value(metadata: Tensor, packed: Tensor) -> Tensor:
    """The value of constant groups as a column: upper half from the minimum, lower half from the first code bytes."""
    wide = metadata.dtype == torch.float32
    integer = torch.int64 if wide else torch.int32
    value = metadata[:, :1].contiguous().view(torch.int32 if wide else torch.int16).to(integer) << (32 if wide else 16)
    for i in range(4 if wide else 2):
        value = value | (packed[:, i : i + 1].to(integer) << (8 * i))
    return value.view(torch.float64 if wide else torch.float32)

"""The counter-based generator of stochastic rounding in plain torch. See ``docs/codes.md``, "Rounding"."""

from __future__ import annotations

import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
FRACTION = 15
"""Fractional bits of a code before rounding, and random bits of an element."""


SHARED_COUNTER = 512
"""First counter of the shared bits; those of pairs of elements are below."""


def _int64(value: int) -> int:
    """The signed integer with the lower 64 bits of ``value``."""
    return (value + 2**63) % 2**64 - 2**63


def _shift_right(z: Tensor, count: int) -> Tensor:
    """Logical shift of 64-bit integers, which torch only has for signed ones."""
    return torch.bitwise_and(z >> count, 2 ** (64 - count) - 1)


def group_keys(seed: int, groups: Tensor) -> Tensor:
    """One 64-bit key for each group index; multiplication of int64 wraps as unsigned multiplication does."""
    z = (groups + 1) * _int64(0x9E3779B97F4A7C15) + seed
    z = (z ^ _shift_right(z, 30)) * _int64(0xBF58476D1CE4E5B9)
    z = (z ^ _shift_right(z, 27)) * _int64(0x94D049BB133111EB)
    return z ^ _shift_right(z, 31)


def _hashes(keys: Tensor, counters: Tensor) -> Tensor:
    """One 32-bit hash for each key and counter."""
    h = ((keys & MASK32) + counters * 0x9E3779B9) & MASK32
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & MASK32
    h = h ^ _shift_right(keys, 32)
    h = ((h ^ (h >> 15)) * 0x846CA68B) & MASK32
    return h ^ (h >> 16)


def _keys(seed: int, first_group: int, count: int, device: torch.device) -> Tensor:
    return group_keys(seed, torch.arange(first_group, first_group + count, device=device))[:, None]


def rounding_bits(seed: int, first_group: int, shape: tuple[int, int], group_size: int, device: torch.device) -> Tensor:
    """15 random bits for each element of groups of one length, int64 of that shape: groups, elements of a group."""
    count, length = shape
    half = group_size // 2
    h = _hashes(_keys(seed, first_group, count, device), torch.arange(min(length, half), device=device))
    return torch.cat((h & (2**FRACTION - 1), (h >> (32 - FRACTION))[:, : max(length - half, 0)]), dim=1)


def shared_bits(seed: int, first_group: int, shape: tuple[int, int], device: torch.device) -> Tensor:
    """Two more for each element, of a stream that the decoder draws again; int64 of that shape."""
    count, length = shape
    j = torch.arange(length, device=device)
    h = _hashes(_keys(seed, first_group, count, device), SHARED_COUNTER + j // 256 * 16 + j % 16)
    return (h >> (2 * (j // 16 % 16))) & 3

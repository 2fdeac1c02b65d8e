"""Parts of a region that are coded one after the other, so that what is computed of a region needs little memory.

NOTE: Keys of parts
The key of a group's random stream is a hash of ``seed + (g + 1) * 0x9E3779B97F4A7C15``. So with ``key_from(seed, g)``
as its seed a part whose first group is number g of the region gets the codes that the whole region would have got.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..autograd.internals import FakeTensor

_WEYL = 0x9E3779B97F4A7C15
_ON_CPU = 2**17
"""Elements for each thread, which fit in its second cache."""
_ON_DEVICE = 2**23
"""Elements that keep a device busy."""
_SAMPLED = 64


def flat_of(region: Tensor) -> Tensor:
    """The elements of a dense tensor in memory order, one-dimensional."""
    return region.as_strided((region.numel(),), (1,))


def at_once(region: Tensor) -> int:
    """Elements of a region that are worked on at a time: whole groups."""
    return _ON_CPU * torch.get_num_threads() if region.device.type == "cpu" else _ON_DEVICE


def spans(numel: int, length: int) -> Iterator[tuple[int, int]]:
    """Beginning and end of each part of so many elements; the last may be shorter."""
    for start in range(0, numel, length):
        yield start, min(start + length, numel)


def tiles(flat: Tensor, length: int) -> Iterator[tuple[int, int]]:
    """Beginning and end of each part of a flat tensor; without data of the first alone, which is as large as any."""
    return spans(min(flat.numel(), length) if type(flat) is FakeTensor else flat.numel(), length)


def sampled(numel: int, group_size: int) -> list[tuple[int, int]]:
    """Up to 64 parts of two groups each, evenly spread over a region; all of it where it has no more than that."""
    length = 2 * group_size
    if numel <= _SAMPLED * length:
        return [(0, numel)]
    stride = numel // length // _SAMPLED * length
    return [(at * stride, at * stride + length) for at in range(_SAMPLED)]


def key_from(seed: int, group: int) -> int:
    """The seed with which groups from number 0 on draw what groups from this number on draw with the given seed."""
    shifted = (seed + group * _WEYL) % 2**64
    return shifted - 2**64 if shifted >= 2**63 else shifted

"""Strides: which elements of a storage a saved tensor covers, and how to give them back in the same place.

A tensor is compressed as its *region*: a tensor that is dense in memory, so that equal regions of equal storages can
be shared whatever views were saved of them (a matrix and its transpose, an expanded tensor and its source).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..ops.checks import is_dense

_is_dense = lru_cache(maxsize=1024)(is_dense)


class Layout(NamedTuple):
    """Size and stride of a saved tensor relative to its region.

    Attributes:
        size: Size of the saved tensor.
        stride: Stride of the saved tensor, in elements.
        dense: Size of the region; differs from ``size`` where the tensor was expanded.
        copied: Whether the region is a contiguous copy, because the tensor leaves gaps in its storage.
    """

    size: torch.Size
    stride: tuple[int, ...]
    dense: torch.Size
    copied: bool = False

    @property
    def region_stride(self) -> tuple[int, ...]:
        """Stride of the region, with which it is decoded."""
        return _contiguous(self.dense) if self.copied else self.stride

    def restore(self, region: Tensor) -> Tensor:
        """The saved tensor, given its decoded region: same size and stride as saved.

        Args:
            region: Decoded elements, of size ``dense`` and stride ``region_stride``.
        """
        if self.copied:
            spread = torch.empty_strided(self.dense, self.stride, dtype=region.dtype, device=region.device)
            region = spread.copy_(region)
        return region if self.dense == self.size else region.as_strided(self.size, self.stride)


def region_of(tensor: Tensor) -> tuple[Tensor, Layout] | None:
    """The dense region that a strided tensor covers, and the way back.

    Args:
        tensor: Any strided tensor.

    Returns:
        The region, which is the tensor itself if that is dense, a narrower view if it was expanded, and a contiguous
        copy if it leaves gaps; and the layout. None if elements overlap in a way other than expansion.
    """
    size, stride = tensor.size(), tensor.stride()
    if tensor.is_contiguous() or _is_dense(size, stride):
        return tensor, _whole(size, stride)
    dense = torch.Size(1 if step == 0 else length for length, step in zip(size, stride, strict=True))
    region = tensor if dense == size else tensor.as_strided(dense, stride)
    if _is_dense(dense, stride):
        return region, Layout(size, stride, dense)
    if _overlaps(dense, stride):
        return None
    return region.contiguous(), Layout(size, stride, dense, copied=True)


@lru_cache(maxsize=1024)
def _whole(size: torch.Size, stride: tuple[int, ...]) -> Layout:
    """The layout of a tensor that is its own region: one object for all of them, which the collector visits once."""
    return Layout(size, stride, size)


@lru_cache(maxsize=1024)
def _contiguous(size: torch.Size) -> tuple[int, ...]:
    """Stride of a contiguous tensor."""
    return torch.empty(size, device="meta").stride()


@lru_cache(maxsize=1024)
def _overlaps(size: torch.Size, stride: tuple[int, ...]) -> bool:
    """Whether two index tuples may reach one element (never wrongly False)."""
    reach = 0
    for step, length in sorted((step, length) for length, step in zip(size, stride, strict=True) if length > 1):
        if step <= reach:
            return True
        reach += step * (length - 1)
    return False

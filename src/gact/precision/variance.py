"""The error of each width on a tensor, measured on a sample of its groups."""

from __future__ import annotations

import torch
from torch import Tensor

from ..codecs.groups import Groups

WIDTHS = range(1, 9)
_CHUNKS = 64


def variance_by_width(region: Tensor, group_size: int, seed: int) -> Tensor:
    """Mean squared error of the codes of 1 to 8 bits, shape [8], float64, on the device of the region.

    Args:
        region: Tensor that is dense in memory; up to 128 groups evenly spread over it are looked at.
        group_size: Elements per group.
        seed: Key of the rounding.
    """
    sample = _sample(region.detach(), group_size)
    exact = sample.double()
    errors = [_decoded(sample, bits, group_size, seed).double() - exact for bits in WIDTHS]
    return torch.stack([error.square().mean() for error in errors])


def _decoded(sample: Tensor, bits: int, group_size: int, seed: int) -> Tensor:
    return Groups(sample, bits, group_size, seed).decode(tuple(sample.shape), sample.stride())


def _sample(region: Tensor, group_size: int) -> Tensor:
    """Whole groups of a region, in memory order, as they are quantized."""
    flat = region.as_strided((region.numel(),), (1,))
    chunk = 2 * group_size
    if flat.numel() <= _CHUNKS * chunk:
        return flat
    chunks = flat[: flat.numel() // chunk * chunk].view(-1, chunk)
    return chunks[:: len(chunks) // _CHUNKS][:_CHUNKS].reshape(-1)

"""The error of each width on a tensor, measured on a sample of its groups."""

from __future__ import annotations

import torch
from torch import Tensor

from ..codecs.groups import Groups, round_

WIDTHS = range(1, 9)


def variance_by_width(code: Groups, region: Tensor, seed: int) -> Tensor:
    """Mean squared error of the codes of 1 to 8 bits, shape [8], float64, on the device of the region.

    The error is that of what is quantized: of a region that is transformed first it is the error before that is undone.

    Args:
        code: A code of the region: it tells what is quantized of it, and how.
        region: Tensor that is dense in memory; up to 128 groups evenly spread over it are looked at.
        seed: Key of the rounding.
    """
    sample = code.sample(region)
    exact = sample.double()
    errors = [_rounded(sample, code, bits, seed).double() - exact for bits in WIDTHS]
    return torch.stack([error.square().mean() for error in errors])


def _rounded(sample: Tensor, code: Groups, bits: int, seed: int) -> Tensor:
    rounded = sample.clone()
    round_(rounded, bits, code.group_size, seed, code.rounding)
    return rounded

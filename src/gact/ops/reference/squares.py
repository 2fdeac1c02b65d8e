"""Corrections of decoded values in plain torch. See ``docs/codes.md``, "Squares"."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from .bits import memory_order


@torch.no_grad()
def correct_squares_(x: Tensor, metadata: Tensor, group_size: int, middle: float, variance: float) -> None:
    """Move decoded values so that their squared distance from a number is right on average, in place.

    With ``v = variance * scale^2`` of the group, each value becomes ``middle +- sqrt(max((x - middle)^2 - v, 0))``, on
    the side where it is. Groups that are not dithered, whose scale is not negative, stay as they are but for rounding.

    Args:
        x: Dense tensor of a dtype in ``checks.DTYPES``, as ``dequantize`` gave it.
        metadata: As ``quantize`` returned it.
        group_size: As given to ``quantize``.
        middle: The number.
        variance: Of the error of an element of a dithered group, in squared steps.

    Raises:
        ValueError: If the arguments do not fit together.
    """
    checks.check_code(1, group_size)
    checks.check_dtype(x.dtype)
    checks.check_dense(x, "x")
    groups = checks.group_count(x.numel(), group_size)
    checks.check_metadata(metadata, groups)
    real = torch.float64 if x.dtype == torch.float64 else torch.float32
    variances = metadata[:, 1].to(real, copy=True).neg_().clamp_min_(0).square_().mul_(variance)
    flat = memory_order(x)
    distance = flat.to(real).sub(middle)
    squares = distance.square()
    whole = flat.numel() // group_size * group_size
    squares[:whole].view(-1, group_size).sub_(variances[: whole // group_size, None])
    squares[whole:].sub_(variances[whole // group_size :])
    flat.copy_(squares.clamp_(min=0.0).sqrt_().copysign_(distance).add_(middle))


KERNELS = (correct_squares_,)

"""Elements moved along a hyperbola in plain torch. See ``docs/codes.md``, "Bends"."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks


@torch.no_grad()
def bend_into(out: Tensor, x: Tensor, before: float, square: float, weight: float, after: float) -> None:
    """Write ``t + weight (sqrt(t^2 + square) - t) + after`` of every element, ``t`` being ``x - before``.

    Args:
        out: Contiguous tensor of the shape of ``x``, float64 for one of float64, else float32; may be ``x``.
        x: Contiguous tensor of a dtype in ``checks.DTYPES``.
        before: What is taken away first.
        square: Squared width of the bend.
        weight: How much of the way from the line to the root.
        after: What is added last.

    Raises:
        ValueError: If the arguments do not fit together.
    """
    checks.check_bend(out, x)
    distance = x.to(out.dtype).sub(before)
    # One rounding for each operation, so that every backend gives the same.
    root = distance.mul(distance).add_(square).sqrt_()
    torch.add(root.sub_(distance).mul_(weight).add_(distance), after, out=out)


KERNELS = (bend_into,)

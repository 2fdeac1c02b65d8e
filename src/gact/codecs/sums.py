"""Rows of a softmax that add to one when they are decoded, as they did before.

NOTE: What cancels in softmax
The backward of softmax takes from the gradient of each probability the mean of all, weighed by the probabilities. What
all gradients have in common (an offset of what is averaged) cancels if these add to one, and rounded ones do not: times
the offset, what they lack is noise. It is given to all elements of the row alike, which leaves each right on average
and is no noise of its own: of independent errors it takes their mean away.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Rows = tuple[int, int]
"""Elements of a row, and how many rows lie in one another in memory."""


def rows_along(region: Tensor, dim: int) -> Rows:
    """How the rows along a dimension lie in memory.

    Args:
        region: A dense region.
        dim: The dimension.
    """
    size, stride = region.size(), region.stride()
    if not size or size[dim] == 1:
        return 1, 1
    inside = [size[other] for other in range(len(size)) if size[other] != 1 and stride[other] < stride[dim]]
    return size[dim], math.prod(inside)


def add_to_one_(flat: Tensor, rows: Rows) -> Tensor:
    """Has rows add to one, in place.

    Args:
        flat: Decoded elements in memory order.
        rows: How rows lie there.
    """
    elements, inner = rows
    table = flat.view(-1, elements, inner)
    dtype = torch.promote_types(flat.dtype, torch.float32)
    table.sub_(table.sum(1, keepdim=True, dtype=dtype).sub_(1.0).div_(elements))
    return flat

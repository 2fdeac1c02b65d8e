"""Sums of a tensor, which what is decoded of it adds to again."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Totals:
    """Sums over some dimensions.

    Args:
        tensor: Of what.
        dims: The dimensions; () for all.
    """

    __slots__ = ("_dims", "_sums")

    def __init__(self, tensor: Tensor, dims: tuple[int, ...]) -> None:
        self._dims = dims or tuple(range(tensor.dim()))
        self._sums = self._of(tensor.detach())

    @property
    def nbytes(self) -> int:
        """Bytes of the sums."""
        return self._sums.nbytes

    def completed(self, decoded: Tensor) -> Tensor:
        """What is decoded, to all elements of which what their sum lacks is given alike: each stays right on average.

        Args:
            decoded: Of the size of the tensor. It is not changed.
        """
        count = math.prod(decoded.shape[dim] for dim in self._dims)
        lacking = (self._sums - self._of(decoded)).nan_to_num_(0.0, 0.0, 0.0)
        return decoded + lacking.div_(max(count, 1)).to(decoded.dtype)

    def _of(self, tensor: Tensor) -> Tensor:
        return tensor.sum(self._dims, keepdim=True, dtype=torch.promote_types(tensor.dtype, torch.float32))

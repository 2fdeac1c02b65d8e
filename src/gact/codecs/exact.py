"""A region that another save keeps as it is, in the place of a code of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Exact:
    """A dense region itself, without its graph.

    Args:
        region: The region.
    """

    __slots__ = ("_region", "_version", "dtype")

    name = "keep"
    bits = 32
    nbytes = 0
    offloaded_bytes = 0
    parts: tuple[str, ...] = ()

    def __init__(self, region: Tensor) -> None:
        self._region = region
        self._version = region._version
        self.dtype: torch.dtype = region.dtype

    def loaded(self) -> Exact:
        """The code itself."""
        return self

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A copy, since the network has the region itself."""
        region = self._region
        if region._version != self._version:
            raise changed_in_place(region, region.shape, self._version)
        out = region.new_empty_strided(size, stride)
        return out.copy_(region.as_strided(size, stride, region.storage_offset()))


def changed_in_place(tensor: Tensor, shape: Sequence[int], version: int) -> RuntimeError:
    """The error of plain autograd for a saved tensor that was changed in place."""
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{tensor.type()} {list(shape)}] is at version {tensor._version}; expected version {version} instead. "
        "gact kept this tensor exactly. Clone it before the in-place change."
    )

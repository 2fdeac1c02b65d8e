"""When two tensors are the same values in the same memory.

NOTE: Identity
An address alone is reused by the allocator and shared by every view, so it does not tell. What does is the storage
object (whose address stays its own while anybody holds it, weakly or not), the offset and extent in it, the dtype,
and the version, which counts in-place changes. The extent is the number of elements for a region that is dense in
memory, whatever the order of its dimensions.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .layout import Layout, region_of

Identity = tuple[Any, ...]


def identity_of(tensor: Tensor, region: Tensor, layout: Layout) -> Identity:
    """Identity of a saved tensor's region.

    Args:
        tensor: The tensor as saved.
        region: Its region, as ``region_of`` gives it.
        layout: Its layout, likewise.
    """
    extent = (layout.size, layout.stride) if layout.copied else region.numel()
    return (tensor.untyped_storage()._cdata, tensor.storage_offset(), extent, tensor.dtype, tensor._version)


def identify(tensor: Tensor) -> tuple[Identity, Layout] | None:
    """Identity and layout of a tensor that is dense in memory, or an expansion of one; None for others."""
    located = region_of(tensor)
    if located is None or located[1].copied:
        return None
    return identity_of(tensor, *located), located[1]

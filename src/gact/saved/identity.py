"""When two tensors are the same values in the same memory.

NOTE: Identity
An address alone is reused by the allocator and shared by every view, so it does not tell. What does is the storage
object (whose address stays its own while anybody holds it, weakly or not), the offset and extent in it, the dtype,
and the version, which counts in-place changes. The extent is the number of elements for a region that is dense in
memory, whatever the order of its dimensions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from ..codecs.layout import Layout, region_of

Identity = tuple[Any, ...]


class Place(NamedTuple):
    """Where a tensor's values lie.

    Attributes:
        identity: Storage, offset, extent, dtype and version of its region.
        region: The dense region, as ``layout.region_of`` gives it.
        layout: The tensor's view of the region.
    """

    identity: Identity
    region: Tensor
    layout: Layout


def locate(tensor: Tensor) -> Place | None:
    """The place of a strided tensor; None if its elements overlap in a way other than expansion."""
    located = region_of(tensor)
    if located is None:
        return None
    region, layout = located
    extent = (layout.size, layout.stride) if layout.copied else region.numel()
    storage = tensor.untyped_storage()._cdata
    return Place((storage, tensor.storage_offset(), extent, tensor.dtype, tensor._version), region, layout)

"""The memory behind a tensor of any kind: the strided tensors that a sparse, nested or wrapped one is made of."""

from __future__ import annotations

import torch
from torch import Tensor

_COMPRESSED = {
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
}


def parts_of(tensor: Tensor) -> list[Tensor]:
    """The tensors with storage that a tensor holds: itself, if it has one.

    Args:
        tensor: Of any layout and class. A subclass that wraps others (jagged and sharded tensors among them) is taken
            apart as it says itself; of a sharded one these are the local parts.

    Returns:
        Strided tensors; none for a kind that shows none, such as an opaque one.
    """
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is not None:
        names, _ = flatten()
        inner = (getattr(tensor, name) for name in names)  # some are no tensors, as the mesh of a sharded one
        return [part for each in inner if isinstance(each, Tensor) for part in parts_of(each)]
    layout = tensor.layout
    if layout is torch.strided:
        return [tensor.detach().values()] if tensor.is_nested else [tensor]
    if layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    return [getattr(tensor.detach(), name)() for name in _COMPRESSED.get(layout, ())]

"""Tensors that are spread over ranks: what this rank has of one is packed, and its place in the whole is kept.

NOTE: Which classes
``DTensor`` of ``torch.distributed.tensor``, as tensor parallelism makes them. Its operations are recorded by the same
nodes as those of ordinary tensors, so the nodes tell what backward reads of the local part, too.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from .kept import Kept
from .save import Save
from .steps import Step
from .unpacking import unpack


def local_of(tensor: Tensor) -> Tensor | None:
    """What this rank has of a tensor that is spread over ranks and no leaf that needs a gradient; None for others."""
    package = sys.modules.get("torch.distributed.tensor")  # nobody has such a tensor who has not imported it
    if package is None or type(tensor) is not package.DTensor or (tensor.is_leaf and tensor.requires_grad):
        return None
    with torch.no_grad():
        local: Tensor = tensor.to_local().detach()  # type: ignore[attr-defined]
    return local


def whole_of(packed: Any, tensor: Tensor, step: Step) -> Sharded | Kept:
    """What autograd gets to hold for a tensor whose local part was packed.

    Args:
        packed: What the local part is held as.
        tensor: The tensor.
        step: The step it belongs to.
    """
    if not isinstance(packed, Save):
        return Kept(tensor, step)
    packed.is_data, packed.is_local = tensor.is_leaf, True
    return Sharded(packed, tensor)


class Sharded:
    """What autograd holds for a tensor that is spread over ranks.

    Args:
        packed: What is held for the local part.
        tensor: The tensor.

    Attributes:
        step: The step it belongs to.
    """

    __slots__ = ("_mesh", "_placements", "_shape", "_stride", "packed", "step")

    def __init__(self, packed: Save, tensor: Any) -> None:
        self.packed = packed
        self.step: Step = packed.step
        self._mesh, self._placements = tensor.device_mesh, tensor.placements
        self._shape, self._stride = tensor.shape, tensor.stride()

    def unpack(self) -> Tensor:
        """A tensor that is spread in the same way, with the local part as it is held."""
        kind = sys.modules["torch.distributed.tensor"].DTensor
        with torch.no_grad():
            made: Tensor = kind.from_local(
                unpack(self.packed),
                self._mesh,
                self._placements,
                run_check=False,
                shape=self._shape,
                stride=self._stride,
            )
        return made

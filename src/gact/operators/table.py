"""What the backward of each autograd node reads of each tensor that it saved.

NOTE: The consumer decides the code
Dithered rounding keeps the expectation of a value, which is what a backward needs that is linear in it (a matrix
product, a convolution, a product). Others look at a sign, an index or an equality, which rounding destroys; others
divide by the value and turn rounding into bias; others read nothing but its shape. The tables of this package say which
is which, slot by slot, after torch's own formulas (``derivatives.yaml``). What they do not name stays exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from torch import Tensor
from torch.autograd.graph import Node

from ..records import UNLISTED
from .attention import FUSED
from .double import DOUBLE
from .linear import LINEAR
from .losses import LOSSES
from .need import SHAPE, Need, Slots, exact, merged
from .norms import NORMS
from .places import PLACES
from .pointwise import POINTWISE
from .reductions import REDUCTIONS
from .registry import BY_NAME, stated_by_class, stated_by_name

NEEDS: Mapping[str, Slots] = MappingProxyType(
    merged(LINEAR, POINTWISE, NORMS, LOSSES, FUSED, REDUCTIONS, PLACES, DOUBLE)
)
_ELSEWHERE = exact("kernels of this device may read it")


def need_of(node: Node, slot: str, tensor: Tensor) -> Need:
    """What must survive of a tensor that a node saved.

    Args:
        node: The node.
        slot: Where it holds the tensor: what follows ``_raw_saved_``, or the position in ``save_for_backward``.
        tensor: The tensor.
    """
    name = node.name()
    need = stated_by_name(name, slot) if BY_NAME else None
    if need is None:
        slots = NEEDS.get(name)
        # A custom Function's name has no number, so it is none of torch's.
        need = slots.get(slot) if slots is not None else stated_by_class(node, slot)
    if need is None:
        return _unknown(name)
    if type(need) is not Need:
        need = need(node, tensor)  # type: ignore[operator]
    # Pooling on Apple's devices looks for the greatest element again.
    return _ELSEWHERE if need is SHAPE and not (tensor.is_cpu or tensor.is_cuda) else need  # type: ignore[return-value]


@lru_cache(maxsize=1024)
def _unknown(name: str) -> Need:
    # The function that torch.compile makes, whose backward may read anything.
    return Need("unknown", why="compiled" if name == "CompiledFunctionBackward" else f"{name}{UNLISTED}")

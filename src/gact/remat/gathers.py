"""Ops whose result has elements of a tensor in other places: cheap to make again from what is held of that tensor.

A network over a graph saves a row for every edge, of rows that it holds for every node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

GATHERS = ["index_select", "gather", "take_along_dim", "roll", "flip", "repeat", "tile", "repeat_interleave"]
"""Names of such ops, beside taking elements by ``[]``."""
_INDICES = frozenset({torch.bool, torch.int32, torch.int64})


def takes_elements(source: Any, index: Any) -> bool:
    """Whether ``source[index]`` makes a new tensor of elements of a tensor, and is no view of it.

    Args:
        source: What elements are taken of.
        index: Anything that stands in the brackets.
    """
    each = index if isinstance(index, tuple) else (index,)
    tensors = [one for one in each if isinstance(one, Tensor)]
    if not isinstance(source, Tensor) or not all(isinstance(one, Tensor) or _stays(one) for one in each):
        return False
    return bool(tensors) and all(one.dtype in _INDICES and one.dim() > 0 for one in tensors)


def _stays(one: Any) -> bool:
    """Whether what stands in the brackets is no list, array or other object that its owner may change."""
    if isinstance(one, slice):
        return all(bound is None or isinstance(bound, int) for bound in (one.start, one.stop, one.step))
    return one is None or one is Ellipsis or isinstance(one, int)


def taken(index: Callable[[tuple[Tensor, ...]], Sequence[Any]], source: Tensor, *indices: Tensor) -> Tensor:
    """The elements.

    Args:
        index: What stands in the brackets, from the tensors in it.
        source: What elements are taken of.
        indices: The tensors in the brackets.
    """
    result: Tensor = source[tuple(index(indices))]
    return result

"""Larger arguments for an operator whose sample is too small for codes: the same values, repeated."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

ENOUGH = 640


def larger(arguments: Any) -> Iterator[Any]:
    """Ways to repeat the tensors among the arguments so that the largest has ``ENOUGH`` elements.

    Which of them an operator takes depends on its shapes: rows repeated in all tensors of as many rows as the largest,
    in those of most dimensions, or in the largest alone; everything in batches; rows and columns of everything.
    """
    tensors = [x for x in tree_leaves(arguments) if is_dense(x) and x.ndim and x.numel()]
    largest = max(tensors, key=lambda x: (x.is_floating_point(), x.numel()), default=None)
    if largest is None or largest.numel() >= ENOUGH:
        return
    times = -(-ENOUGH // largest.numel())
    both = next(n for n in range(1, times + 1) if n * n >= times)

    def rows(x: Tensor) -> Tensor:
        return x.repeat(times, *[1] * (x.ndim - 1))

    yield changed(arguments, rows, lambda x: x.ndim > 0 and x.shape[0] == largest.shape[0])
    yield changed(arguments, rows, lambda x: x.ndim == largest.ndim)
    yield changed(arguments, lambda x: x.repeat(times, *[1] * x.ndim), lambda x: x.ndim > 0)
    yield changed(arguments, lambda x: x.repeat(*[1] * (x.ndim - 2), both, both), lambda x: x.ndim > 1)
    yield changed(arguments, rows, lambda x: x is largest)


def is_dense(x: Any) -> bool:
    """Whether x is a tensor that can be repeated."""
    return isinstance(x, Tensor) and x.layout is torch.strided and not x.is_nested


def changed(arguments: Any, change: Callable[[Tensor], Tensor], which: Callable[[Tensor], bool]) -> Any:
    """The arguments with some of their tensors changed; all are leaves."""

    def leaf(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        made = change(x) if is_dense(x) and which(x) else x
        return made.detach().requires_grad_(x.requires_grad)

    return tree_map(leaf, arguments)

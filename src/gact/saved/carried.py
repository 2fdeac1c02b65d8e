"""What a checkpoint holds for the second run of its block and shows no saved-tensor hook.

NOTE: What hooks are shown
Of the arguments of ``torch.utils.checkpoint.checkpoint`` only those that are tensors themselves go through hooks. What
lies in lists, tuples and dicts, comes by keyword, or is bound to the function (``functools.partial``, or a lambda
that uses a tensor from around it) is held as it is until the block has run again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from ..autograd.internals import arguments_of_checkpoint, variables_of


def carried_by(block: Any) -> list[Tensor]:
    """The tensors that the checkpoint of a block holds past all hooks.

    Args:
        block: What ``running_checkpoint`` gave.
    """
    function, others = arguments_of_checkpoint(block)
    return [*tensors_in(others), *_bound_to(function)]


def carried_beside(function: Any, arguments: Iterable[Any]) -> list[Tensor]:
    """The same of a reentrant checkpoint.

    Args:
        function: What it runs.
        arguments: What it passes to that.
    """
    others = [each for each in arguments if not isinstance(each, Tensor)]
    return [*tensors_in(others), *_bound_to(function)]


def tensors_in(container: Any) -> Iterator[Tensor]:
    """The tensors in nested containers, also those that torch wraps to watch their version."""
    if isinstance(container, Tensor):
        yield container
    elif isinstance(container, Mapping):
        for each in container.values():
            yield from tensors_in(each)
    elif isinstance(container, (list, tuple)):
        for each in container:
            yield from tensors_in(each)
    elif hasattr(container, "val"):
        yield from tensors_in(container.val)


def _bound_to(function: Any) -> Iterator[Tensor]:
    """The tensors that a function brings along."""
    while isinstance(function, functools.partial):
        yield from tensors_in((function.args, function.keywords))
        function = function.func
    yield from tensors_in(variables_of(function))

"""The workspace of recurrent layers on a CPU, whose size the library behind them keeps to itself.

NOTE: How it is known
The layer returns a tensor of its own making, which backward needs; torch's version without data gives it no bytes. Its
size is an affine function of the length of the sequence, so the real layer is run at two short lengths.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import unset_fake_temporarily

LAYER = torch.ops.aten.mkldnn_rnn_layer.default
_HIDDEN, _FIRST = 10, 14
_SHORT = (1, 9)


def with_workspace(results: tuple[Tensor, ...], args: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """The results of the layer without data, with a workspace of the real size.

    Args:
        results: What ``LAYER`` returned.
        args: What it was called with.
    """
    if not args[-1]:
        return results
    batch, length = args[0].shape[:2] if args[_FIRST] else (args[0].shape[1], args[0].shape[0])
    short, longer = (_workspace(at, batch, args[0].shape[2], args[_HIDDEN]) for at in _SHORT)
    size = short + (length - _SHORT[0]) * (longer - short) // (_SHORT[1] - _SHORT[0])
    return (*results[:3], results[3].new_empty(size))


@cache
def _workspace(length: int, batch: int, features: int, hidden: int) -> int:
    """Bytes of the workspace of a real layer."""
    with unset_fake_temporarily(), torch.enable_grad():
        weights = [torch.zeros(4 * hidden, width, requires_grad=True) for width in (features, hidden)]
        weights += [torch.zeros(4 * hidden), torch.zeros(4 * hidden)]
        state = torch.zeros(1, batch, hidden)
        options: tuple[Any, ...] = (False, [], 2, hidden, 1, True, False, False, True)
        results: tuple[Tensor, ...] = LAYER(torch.zeros(length, batch, features), *weights, state, state, *options)
    return results[3].nbytes

"""The copies that autocast makes inside an op, which no function mode sees.

NOTE: Inputs under autocast
Under autocast ``linear(x, w)`` casts ``x`` inside the op, afresh for every layer that reads it, and saves the copy.
Its storage is new each time, so identity does not tell that query, key and value projections share one input. But
the input is the op's first argument, so the copy can be held as a cast of what is held for the input, or shared with
the first copy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..records import Arguments, argument
from ..saved.base import Held
from ..saved.held import HeldRegions
from ..saved.identity import Identity, Place, locate
from ..saved.parameters import PLAIN
from .recipes import Recipe, Recipes, link_to
from .rules import Rebuild

_NAMES = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
_OPS = frozenset(getattr(torch.nn.functional, name) for name in _NAMES.split())
LOW = frozenset({torch.bfloat16, torch.float16})
"""Dtypes to which autocast casts."""


def source_of(op: Callable[..., Any] | None, tensor: Tensor, arguments: Arguments) -> Place | None:
    """Where the argument lies of which a saved tensor is autocast's copy; None if it is no such copy.

    Args:
        op: The op that saves; None if that is not known.
        tensor: What it saves, of a dtype in ``LOW``; no parameter.
        arguments: Its arguments.
    """
    if op not in _OPS:
        return None
    source = argument(arguments, 0, "input", None)
    if type(source) not in PLAIN or source.dtype is tensor.dtype or source.numel() != tensor.numel():
        return None
    place = locate(source)
    return place if place is not None and place.region is source else None


def identity_of_cast(source: Place, dtype: torch.dtype) -> Identity:
    """Identity of a region's cast, whichever copy holds it."""
    return ("cast", dtype, *source.identity)


def derive(source: Place, tensor: Tensor, held: HeldRegions, recipes: Recipes) -> Held | None:
    """The cast of what is held for the source, or None."""
    link = link_to(source, held, recipes)
    if link is None:
        return None
    rebuild = Rebuild(partial(Tensor.to, dtype=tensor.dtype), casts=True)
    return Recipe(rebuild, [link], tensor, source.region.stride()).resolve()

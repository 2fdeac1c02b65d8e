"""Rebuild rules that users state: how the result of a custom op is made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import wrap_torch_function

from ..autograd.internals import OpOverload, OpOverloadPacket, tree_leaves
from . import rules

KINDS = {"linear": "linear", "curve": "curve", "other": "kink"}
"""What users call the kinds of ``rules.Rebuild`` that a custom op may have."""


def register_rebuild(
    op: Callable[..., Any], make: Callable[..., Tensor] | None = None, *, kind: str = "other"
) -> Callable[..., Any]:
    """Says how the result of a custom operator is made again, so that it need not be held beside its inputs.

    A result that a later op saves is rebuilt in backward where all large inputs of the operator are held anyway and
    what reads it does so linearly. The operator must return one new tensor, draw no random numbers, and change neither
    its inputs nor any state. ``kind`` says what the rounding of its inputs does to the result:

    * ``"linear"``: the result is linear in all tensors at once, up to a constant, so it stays right on average;
    * ``"curve"``: each element is a smooth function of the elements in the same place of arguments that broadcast to
      the result; what the function holds itself may differ from place to place. What codes of 5 bits and less add to it
      on average is computed and taken away. The first call whose result is noted looks whether this is so, by changing
      some elements; where an argument does not broadcast, or has equal elements alone, ``"other"`` is assumed;
    * ``"other"``: anything else. The result is not rebuilt from codes of 5 bits and less.

    To register an operator again replaces what was said before.

    Args:
        op: An op of ``torch.library``, as ``torch.ops.<namespace>.<name>``; or a subclass of
            ``torch.autograd.Function``; or a Python function. What such a function saves itself is held as ever, but no
            result inside of it is rebuilt.
        make: Makes the result, called with the operator's own arguments and without autograd; the operator itself if it
            is left out.
        kind: ``"linear"``, ``"curve"`` or ``"other"``.

    Returns:
        What to call from now on: the op itself if it is one of ``torch.library``, else a function that takes the place
        of ``Function.apply`` or of the Python function.

    Raises:
        TypeError: If ``op`` is none of these or ``make`` cannot be called.
        ValueError: If ``kind`` is another word; from the operator itself, if it is called a curve and is none.

    Example:
        >>> swiglu = gact.register_rebuild(SwiGLU)  # a torch.autograd.Function; call swiglu(x), not SwiGLU.apply(x)
        >>> gact.register_rebuild(torch.ops.mylib.scale, kind="linear")
    """
    if kind not in KINDS:
        raise ValueError(f"register_rebuild() got the kind {kind!r}; allowed are {', '.join(map(repr, KINDS))}")
    if make is not None and not callable(make):
        raise TypeError(f"register_rebuild() got make={make!r}; it must be a function of the operator's arguments")
    if isinstance(op, (OpOverload, OpOverloadPacket)):
        packet = op.overloadpacket if isinstance(op, OpOverload) else op
        for each in (packet, *(getattr(packet, name) for name in packet.overloads())):
            rules.state(each, make or each, KINDS[kind])
        return op
    function, name = _function(op)
    seen = wrap_torch_function(_tensors)(function)
    seen.__name__ = name
    rules.state(seen, make or function, KINDS[kind])
    return seen


def _function(op: Any) -> tuple[Callable[..., Any], str]:
    """What runs an operator that is none of ``torch.library``, and its name."""
    if isinstance(op, type) and issubclass(op, torch.autograd.Function):
        return op.apply, op.__name__
    if isinstance(op, type) or not callable(op) or not hasattr(op, "__name__"):
        raise TypeError(
            f"register_rebuild() got {op!r}; the operator must be an op of torch.library, as "
            "torch.ops.<namespace>.<name>, a subclass of torch.autograd.Function, or a function"
        )
    return op, op.__name__


def _tensors(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """The tensors of a call, which function modes are asked about."""
    return tuple(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))

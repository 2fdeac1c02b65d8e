"""What may run several times in a step: hooks and Functions that are known to do nothing but return gradients.

NOTE: A hook that is proven harmless
Its code is read. It may take parts and attributes of what it is given, of tensors and of numbers, combine them by
operators that make new tensors and by functions of torch that are named below, and return what comes of it. Whatever
else it does (stores something, calls anything else, changes a tensor in place) may be an effect.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import weakref
from collections.abc import Callable
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import variables_of

_NAMES: set[str] = set()
_KNOWN: weakref.WeakSet[Any] = weakref.WeakSet()
_ASKS = "is_measuring"
_GENERATED = ("torch._library.", "torch._functorch.autograd_function", "torch._functorch.pyfunctorch")
"""Where torch makes Functions whose backward is somebody's."""
_STEPS = """
    RESUME NOP CACHE COPY_FREE_VARS PUSH_NULL PRECALL KW_NAMES POP_TOP COPY SWAP DUP_TOP ROT_TWO ROT_THREE TO_BOOL
    LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_BORROW LOAD_FAST_LOAD_FAST LOAD_FAST_BORROW_LOAD_FAST_BORROW LOAD_CONST
    LOAD_SMALL_INT LOAD_DEREF LOAD_GLOBAL LOAD_ATTR LOAD_METHOD STORE_FAST STORE_FAST_LOAD_FAST STORE_FAST_STORE_FAST
    CALL CALL_KW CALL_FUNCTION CALL_FUNCTION_KW CALL_METHOD BUILD_TUPLE BUILD_SLICE UNPACK_SEQUENCE COMPARE_OP IS_OP
    BINARY_OP BINARY_SUBSCR BINARY_SLICE BINARY_ADD BINARY_SUBTRACT BINARY_MULTIPLY BINARY_TRUE_DIVIDE BINARY_POWER
    BINARY_AND BINARY_OR BINARY_MATRIX_MULTIPLY UNARY_NEGATIVE UNARY_NOT UNARY_INVERT NOT_TAKEN POP_JUMP_IF_FALSE
    POP_JUMP_IF_TRUE POP_JUMP_IF_NONE POP_JUMP_IF_NOT_NONE POP_JUMP_FORWARD_IF_FALSE POP_JUMP_FORWARD_IF_TRUE
    POP_JUMP_FORWARD_IF_NONE POP_JUMP_FORWARD_IF_NOT_NONE JUMP_FORWARD RETURN_VALUE RETURN_CONST
"""
_FUNCTIONS = """
    abs add all amax amin any bmm clamp clip clone contiguous cos detach device dim div double dtype exp expand
    expand_as finfo eps flatten flip float float32 float64 float16 bfloat16 half H inf isfinite isinf isnan item
    ones_like zeros_like log logical_and logical_not logical_or masked_fill matmul max mean min mH minimum maximum mm
    movedim mT mul nan_to_num neg nn functional norm numel permute pow reciprocal reshape roll rsqrt shape sigmoid
    sign sin size sqrt square squeeze std sub sum T tanh t to transpose tril triu type_as unsqueeze var view view_as
    where
"""
"""Attributes of tensors and names of torch that make new tensors or tell something."""
_BUILTINS = {"abs": abs, "float": float, "int": int, "len": len, "max": max, "min": min, "tuple": tuple}


def register_repeatable(target: type[torch.autograd.Function] | Callable[..., Any] | str) -> None:
    """Says that a custom Function's backward, or a hook, may run several times in a step.

    A step that measures sensitivities runs backward several times (``docs/precision.md``). What a backward does to its
    own ``ctx`` is put back. One that was seen to change anything else, by a backward pass of its own, by writing to
    tensors or by talking to other processes, ends measuring, with a warning; so this is for Functions which do so
    without harm. Hooks that are not known to do nothing but return a gradient are not called in such passes; one
    that is registered here is.

    Args:
        target: A subclass of ``torch.autograd.Function``, a hook, or the name of a node class, as
            ``tensor.grad_fn.name()`` gives it.

    Raises:
        TypeError: If it is nothing of the kind.

    Example:
        >>> gact.register_repeatable(ReduceAcrossRanks)
        >>> gact.register_repeatable(scale_gradient)
    """
    if isinstance(target, str) and target:
        _NAMES.add(target)
    elif callable(target):
        _KNOWN.add(_plain(target))
    else:
        raise TypeError(
            f"register_repeatable() got {target!r}; the target must be a subclass of torch.autograd.Function, a hook, "
            "or the name of a node class, as tensor.grad_fn.name() gives it"
        )


def function_may_repeat(function: type, name: str) -> bool:
    """Whether the backward of a Function is torch's own, ours, or one that somebody answers for.

    Args:
        function: The Function.
        name: What its nodes are called.
    """
    module = function.__module__ or ""
    known = module.partition(".")[0] in {"torch", "gact"} and not module.startswith(_GENERATED)
    return known or name in _NAMES or function in _KNOWN


def hook_may_repeat(hook: Any) -> bool:
    """Whether a hook asks ``is_measuring``, is known to do nothing but return a gradient, or was answered for."""
    plain = _plain(hook)
    with contextlib.suppress(TypeError):  # what has no hash
        if plain in _KNOWN:
            return True
    function = plain if isinstance(plain, FunctionType) else type(plain).__call__
    if not isinstance(function, FunctionType):
        return False
    return _ASKS in function.__code__.co_names or (function is hook and _only_returns(hook))


def _plain(hook: Any) -> Any:
    """The function behind a bound method or a partial one; the same each time that a method is asked for."""
    while isinstance(hook, (MethodType, functools.partial)):
        hook = hook.__func__ if isinstance(hook, MethodType) else hook.func
    return hook


def _only_returns(function: FunctionType) -> bool:
    code, names = function.__code__, function.__globals__
    values = [
        *variables_of(function).values(),
        *(function.__defaults__ or ()),
        *(function.__kwdefaults__ or {}).values(),
    ]
    if len(variables_of(function)) < len(code.co_freevars) or not all(map(_is_value, values)):
        return False
    constants = [each for const in code.co_consts for each in (const if isinstance(const, tuple) else (const,))]
    if "out" in constants or "inplace" in constants or "memory_format" in constants:
        return False
    steps, functions = set(_STEPS.split()), set(_FUNCTIONS.split())
    for step in dis.get_instructions(code):
        if step.opname not in steps or (step.opname == "BINARY_OP" and step.argrepr.endswith("=")):
            return False
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and step.argval not in functions:
            return False
        if step.opname == "LOAD_GLOBAL" and not _is_known(step.argval, names):
            return False
    return True


def _is_known(name: str, names: dict[str, Any]) -> bool:
    """Whether a global name stands for torch, a value, or a function of Python's that has no effect."""
    if name not in names:
        return name in _BUILTINS
    value = names[name]
    return _is_value(value) or (isinstance(value, ModuleType) and value in (torch, torch.nn.functional))


def _is_value(value: object) -> bool:
    if isinstance(value, (tuple, torch.Size)):
        return all(map(_is_value, value))
    plain = (bool, int, float, str, type(None), torch.dtype, torch.device)
    return isinstance(value, plain) or type(value) in (Tensor, torch.nn.Parameter)

"""Names of torch that begin with an underscore: the only place that imports them.

A release may drop or change any of them. ``tests/test_internals.py`` names them all, so that a new release says at once
what is gone; below stands what each is for and what there is without it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from types import FrameType, FunctionType, ModuleType
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch._C import DisableTorchFunction as _DisableTorchFunction
from torch._C import _DisableTorchDispatch
from torch._C._autograd import _get_sequence_nr, _unsafe_set_version_counter
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor, maybe_current_level
from torch._ops import OpOverload, OpOverloadPacket
from torch._subclasses import FakeTensor, FakeTensorMode
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    unset_fake_temporarily,
)
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

__all__ = [
    "CURVES",
    "DATA_DEPENDENT",
    "DisableTorchDispatch",
    "DisableTorchFunction",
    "FakeTensor",
    "FakeTensorMode",
    "OpOverload",
    "OpOverloadPacket",
    "StorageWeakRef",
    "TorchDispatchMode",
    "active_parallel",
    "backward_engine",
    "cached_by_checkpoint",
    "arguments_of_checkpoint",
    "checkpoint_of",
    "current_node",
    "decompositions",
    "backward_donates",
    "graph_compiler",
    "graph_of",
    "function_modes",
    "get_unwrapped",
    "graph_task",
    "has_compiled",
    "has_kernel",
    "hooks_refusal",
    "is_at_hand",
    "is_checkpoint",
    "is_wrapped",
    "next_sequence_number",
    "node_class",
    "pop_hooks",
    "push_hooks",
    "set_backward_engine",
    "set_version",
    "store_of",
    "running_checkpoint",
    "top_hooks",
    "trace_of_now",
    "transform_level",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "tree_unflatten",
    "unset_fake_temporarily",
    "variables_of",
]

DisableTorchFunction = _DisableTorchFunction
"""What runs inside calls no function mode. Without it, our looks at tensors would count as the user's ops."""
DisableTorchDispatch = _DisableTorchDispatch
"""The same of dispatch modes."""

DATA_DEPENDENT = (DataDependentOutputException, DynamicOutputShapeException)
"""What tensors without data raise where a size or a number would depend on values. Without it: any error looks so."""


def is_at_hand(tensor: Tensor) -> bool:
    """Whether a tensor has values that can be looked at without waiting for a device."""
    return tensor.is_cpu and type(tensor) is not FakeTensor


function_modes: Callable[[], list[Any]] = _get_current_function_mode_stack
"""The function modes that are active, the innermost last."""

top_hooks: Callable[[bool], Any] = torch._C._autograd._top_saved_tensors_default_hooks
"""The pair of saved-tensor hooks that autograd would call. Without it, nobody could tell whether ours is called."""
push_hooks: Callable[[Any, Any], None] = torch._C._autograd._push_saved_tensors_default_hooks
"""Puts a pair on the stack. Without it: the public context manager, which can take off no other pair than the last."""
pop_hooks: Callable[[], None] = torch._C._autograd._pop_saved_tensors_default_hooks
hooks_refusal: Callable[[], str | None] = torch._C._autograd._saved_tensors_hooks_get_disabled_error_message
"""Why hooks are refused here, as inside ``torch.func``; None if they are not."""

graph_task: Callable[[], int] = torch._C._current_graph_task_id
"""Number of the backward pass that this thread runs; -1 for none. Without it: nothing tells forward from backward."""
current_node: Callable[[], Any] = torch._C._current_autograd_node
"""The node that is running. Without it, profiles of memory do not name who made a tensor in backward."""
next_sequence_number: Callable[[], int] = _get_sequence_nr
"""Number of the next node of this thread. Without it: every look for a save goes back to the beginning of the graph."""
set_version: Callable[[Any, Any], None] = _unsafe_set_version_counter
"""Sets a tensor's version. Without it, buffers that a measurement restores count as changed in place."""

trace_of_now: Callable[[], Any] = torch._C._get_tracing_state
"""What ``torch.jit.trace`` records now; None if it does not."""
is_wrapped: Callable[[Any], bool] = is_functorch_wrapped_tensor
"""Whether a transform of ``torch.func`` has wrapped a tensor."""
transform_level: Callable[[], int | None] = maybe_current_level
"""How many of those transforms are running; None for none."""

CURVES: dict[str, Callable[..., Any]] = {
    name: getattr(torch._C._nn, name) for name in ("gelu", "silu", "mish", "elu", "softplus")
}
"""Functions that can write into memory they are given. Without them rebuilding takes one tensor more."""


def backward_engine() -> Callable[..., Any]:
    """The function in which all of Python's backward passes begin. Without it, no sensitivity is measured."""
    engine: Callable[..., Any] = torch.autograd._engine_run_backward  # type: ignore[attr-defined]
    return engine


def set_backward_engine(engine: Callable[..., Any]) -> None:
    """Puts another function in its place."""
    torch.autograd._engine_run_backward = engine  # type: ignore[attr-defined]


def active_parallel() -> torch.nn.Module | None:
    """The ``DistributedDataParallel`` whose forward is running. Without it: one that was not yet seen to begin."""
    module: torch.nn.Module | None = DistributedDataParallel._get_active_ddp_module()
    return module


def store_of(group: Any) -> Any:
    """The store in which the ranks of a process group have found each other. Without it, ranks agree on nothing."""
    return torch.distributed.distributed_c10d._get_process_group_store(group)


def node_class(name: str) -> Any:
    """The class of autograd's nodes of that name, or None; nodes of torch alone have one."""
    return getattr(torch._C._functions, name, None)


def decompositions() -> Mapping[Any, Callable[..., Any]]:
    """What operators are in simpler ones. Without it, fused ones of compiled backward have their values exactly."""
    from torch._decomp import decomposition_table

    return decomposition_table


def graph_of(function: Callable[..., Any], *fakes: Any) -> Any:
    """The graph of what a function does with fake tensors. Without it, as without ``decompositions``."""
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(function)(*fakes).graph


def backward_donates() -> bool:
    """Whether what is compiled now may write to the memory of what it saved, so that its backward runs once."""
    import torch._functorch.config as config

    return bool(config.donated_buffer)


def backward_is_compiled() -> bool:
    """Whether compiled autograd is on or is to be on, which takes nothing from saved-tensor hooks but tensors."""
    config, compiler = (sys.modules.get(f"torch._dynamo.{name}") for name in ("config", "compiled_autograd"))
    wanted = bool(getattr(config, "compiled_autograd", False))
    return wanted or bool(getattr(compiler, "compiled_autograd_enabled", False))


def graph_compiler() -> ModuleType:
    """The module that divides a graph into forward and backward and has the two compiled.

    Its function ``maybe_inline_graph_saved_tensors_hooks``, called between the two, is the place for an edit. Without
    it, compiled code holds what it holds without gact (``gact.compiled.is_possible``).
    """
    from torch._functorch._aot_autograd import graph_compile

    return graph_compile


def has_kernel(operator: str, key: str) -> bool:
    """Whether an operator has a kernel of its own for a dispatch key."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(operator, key))


_RESPECTS = "respect_saved_tensors_hooks"
_CACHING = getattr(torch.utils.checkpoint, "_CachingTorchDispatchMode", ())


def cached_by_checkpoint() -> Any:
    """What the selective checkpoint that runs now has kept so far, to be looked at later; None if none runs.

    Without it, reports do not count what selective checkpointing keeps past all hooks. Where torch asks whether hooks
    shall see it (since 2.14) and the user has not said so, it is said that they need not: it is counted here.
    """
    for mode in reversed(_get_current_dispatch_mode_stack()):
        if isinstance(mode, _CACHING):
            if getattr(mode, _RESPECTS, False) is None:
                setattr(mode, _RESPECTS, False)
            return getattr(mode, "storage", None)
    return None


_FRAME = getattr(torch.utils.checkpoint, "_CheckpointFrame", ())


def is_checkpoint(kind: type) -> bool:
    """Whether objects of a class are what a checkpoint that does not run inside of backward knows of its block.

    Without it, what blocks change when they run again for a measurement is not put back.
    """
    return issubclass(kind, _FRAME)


def checkpoint_of(frame: FrameType) -> Any:
    """What a checkpoint that saves its inputs now knows of its block: how it runs again; None if that is not found.

    Without it, blocks that were compiled may not run under checkpoint in a context.

    Args:
        frame: The function of ``torch.utils.checkpoint`` that saves.
    """
    at: FrameType | None = frame
    while at is not None and at.f_code.co_filename == torch.utils.checkpoint.__file__:
        for value in at.f_locals.values():
            if isinstance(value, _FRAME) and hasattr(value, "recompute_fn"):
                return value
        at = at.f_back
    return None


def running_checkpoint() -> Any:
    """What the innermost checkpoint whose block runs for the first time knows of it; None if none does.

    Without it, reports do not count what a checkpoint holds for its block past all hooks.
    """
    pair = top_hooks(True)
    found = {} if pair is None else variables_of(pair[0])
    return next((each for each in found.values() if isinstance(each, _FRAME)), None)


def arguments_of_checkpoint(block: Any) -> tuple[Any, list[Any]]:
    """The function that a checkpointed block runs again, and its arguments but those that are tensors themselves."""
    again = variables_of(getattr(block.recompute_fn, "__wrapped__", block.recompute_fn))
    saver = getattr(getattr(block, "input_saver", None), "grad_fn", None)  # until torch 2.12
    others = getattr(block, "saved_args", None) or variables_of(getattr(saver, "get_args", None)).get("args", ())
    return again.get("fn"), [*others, again.get("kwargs")]


def variables_of(function: Any) -> dict[str, Any]:
    """The variables of others that a function uses, those of them that are set."""
    found: dict[str, Any] = {}
    if not isinstance(function, FunctionType):
        return found
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def has_compiled() -> bool:
    """Whether Dynamo has compiled anything in this process. Without it, everything counts as compiled."""
    converter = sys.modules.get("torch._dynamo.convert_frame")
    return converter is not None and getattr(converter, "FRAME_COUNTER", 1) > 0

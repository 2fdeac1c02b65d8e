"""Who is saving: the op, the slot and the module path behind a call of the pack hook.

NOTE: How the consumer is known
A pack hook sees a tensor and nothing else. While a context is open a ``TorchFunctionMode`` notes the op that is
running and hooks of all modules (``modules.py``) keep the stack of running ones, so that a save which happens inside
the op belongs to that pair. Ops that bypass torch functions (custom autograd Functions, ops called from C++) are
reported as ``unknown``, but for those of ``torch.utils.checkpoint`` and ``torch.compile``, which are told by who runs
them. Python composites such as ``F.multi_head_attention_forward`` are seen as one op: torch gives no way
to look inside one.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.utils.checkpoint
from torch.overrides import TorchFunctionMode

from .compiling import never_compiled
from .hooks import Hooks
from .makers import DERIVABLE
from .modules import follow, unfollow
from .needs import Arguments
from .records import Site

UNKNOWN = "unknown"
CHECKPOINT = "checkpoint"
COMPILED = "compiled"
_CHECKPOINT_FILE = torch.utils.checkpoint.__file__
_COMPILED_FOLDER = os.path.join(os.path.dirname(torch.__file__), "_functorch", "")
_FUNCTION_FILE = torch.autograd.function.__file__
_NO_KEYWORDS: Mapping[str, Any] = {}
_NONE: Arguments = ((), _NO_KEYWORDS)


class _Frame:
    """One running module: its path and how many calls of each op have saved so far."""

    __slots__ = ("calls", "module", "path")

    def __init__(self, module: torch.nn.Module | None, path: str) -> None:
        self.module = module
        self.path = path
        self.calls: dict[str, int] = {}


class Sites:
    """The sites of a model, each made once, and the names of its modules.

    Args:
        model: Its ``named_modules()`` give the module paths; without it class names are used.
    """

    def __init__(self, model: torch.nn.Module | None) -> None:
        self._known: dict[tuple[str, str, int, int], Site] = {}
        self._paths: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()
        self._model: Callable[[], torch.nn.Module | None] = (lambda: None) if model is None else weakref.ref(model)
        self._read()

    def path(self, module: torch.nn.Module) -> str:
        """Path of a module in the model, or its class name in angle brackets."""
        path = self._paths.get(module)
        if path is None:
            self._read()
            compiled = getattr(module, "_orig_mod", None)  # what torch.compile() was called with
            other = self.path(compiled) if isinstance(compiled, torch.nn.Module) else f"<{type(module).__name__}>"
            path = self._paths.setdefault(module, other)
        return path

    def _read(self) -> None:
        """Reads the paths of all modules, of those too that were added since."""
        model = self._model()
        if model is not None:
            for path, module in model.named_modules():
                self._paths[module] = path

    def site(self, module: str, op: str, call: int, slot: int) -> Site:
        """The site of these four names."""
        key = (module, op, call, slot)
        site = self._known.get(key)
        if site is None:
            site = self._known[key] = Site(module, op, call, slot)
        return site


class Consumers(TorchFunctionMode):
    """Follows one thread's forward pass and tells which site a save belongs to.

    Use as a context manager; outside of it nothing is followed and nothing costs anything.

    Args:
        sites: Where sites and module paths come from.
    """

    def __init__(self, sites: Sites) -> None:
        super().__init__()
        self._sites = sites
        self._thread = threading.get_ident()
        self._frames = [_Frame(None, "")]
        self._op: str | None = None
        self._func: Callable[..., Any] | None = None
        self._arguments: Arguments = _NONE
        self._observe: Callable[..., Any] | None = None
        self._call = 0
        self._slot = 0
        self._hooks: Hooks | None = None
        self._tell: Callable[[str], None] | None = None

    def __enter__(self) -> Consumers:
        follow(self)
        never_compiled(type(self).__torch_function__)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        unfollow(self)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs one op with its name noted; ops nested in it belong to the outer one."""
        if torch.compiler.is_compiling() or self._op is not None:
            return func(*args, **(kwargs or {}))
        # An op that saved something has shown that our hooks are in charge.
        if not self._slot and self._hooks is not None and not self._hooks.in_charge():
            self._look_at_hooks(self._hooks)
        self._op = name = func.__name__
        self._func = func
        kwargs = kwargs or _NO_KEYWORDS
        self._arguments = (args, kwargs)
        self._slot = 0
        try:
            if name in DERIVABLE and self._observe is not None:
                return self._observe(name, func, args, kwargs)
            return func(*args, **kwargs)
        finally:
            self._op = None
            self._arguments = _NONE

    def watch(self, hooks: Hooks, tell: Callable[[str], None]) -> None:
        """Has somebody told, once, when an op runs under saved-tensor hooks that are not ours.

        Args:
            hooks: Our pair.
            tell: Called with the name of the other.
        """
        self._hooks, self._tell = hooks, tell

    def _look_at_hooks(self, hooks: Hooks) -> None:
        name = hooks.foreign()
        if name and self._tell is not None:
            self._hooks = None
            self._tell(name)

    def observe(self, run: Callable[..., Any]) -> None:
        """Has the ops that make tensors which can be rebuilt run by somebody who notes how."""
        self._observe = run

    def begin_step(self) -> None:
        """Starts to count the calls outside of any module afresh."""
        self._frames[0].calls.clear()

    def module_begins(self, module: torch.nn.Module) -> None:
        """Takes a module for the running one."""
        self._frames.append(_Frame(module, self._sites.path(module)))

    def module_ends(self, module: torch.nn.Module) -> None:
        """Takes the module around it for the running one again."""
        # A forward that raised may have left the frames of its children behind: unwind to the module that ends.
        for depth in range(len(self._frames) - 1, 0, -1):
            if self._frames[depth].module is module:
                del self._frames[depth:]
                return

    @property
    def composite(self) -> bool:
        """Whether the op that is running is a Python function, which may save for ops of several kinds."""
        return self._op is not None and type(self._func) is FunctionType

    def arguments(self) -> Arguments:
        """Positional and keyword arguments of the op that is running."""
        return self._arguments

    def save(self) -> Site:
        """The site of the save that is happening now; counts it."""
        if threading.get_ident() != self._thread:
            return self._sites.site("", UNKNOWN, 0, 0)  # a double backward on a device's thread
        frame = self._frames[-1]
        if self._op is None:
            op = _function(sys._getframe(2))
            call = frame.calls[op] = frame.calls.get(op, -1) + 1
            return self._sites.site(frame.path, op, call, 0)
        if self._slot == 0:
            self._call = frame.calls[self._op] = frame.calls.get(self._op, -1) + 1
        slot = self._slot
        self._slot = slot + 1
        return self._sites.site(frame.path, self._op, self._call, slot)


def _function(frame: FrameType) -> str:
    """The name of the custom Function that saves, which is told by who runs it."""
    if frame.f_code.co_filename == _FUNCTION_FILE and frame.f_back is not None:
        frame = frame.f_back
    file = frame.f_code.co_filename
    if file == _CHECKPOINT_FILE:
        return CHECKPOINT
    return COMPILED if file.startswith(_COMPILED_FOLDER) else UNKNOWN

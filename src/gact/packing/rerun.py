"""What is changed of a checkpointed block before it runs, where anything is compiled.

NOTE: Run again beside the same
Torch compiles code anew where the function modes and hooks of modules are others than when it was compiled. A block
that was compiled inside of a context would run again as another code, which may save in another order, and checkpoint
refuses that. So where anything was compiled, the second run has a quiet mode of the same class and the same hooks.

NOTE: Compiled code may decide
What runs in compiled code is not seen: it may sort or compare (``saved/boundaries.py``). So it is told that it ran.
Checkpoint looks at what a block saves, and so it is seen who saves.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Generic, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from ..autograd.internals import checkpoint_of, function_modes, has_compiled

COMPILED_FOLDER = os.path.join(os.path.dirname(torch.__file__), "_functorch", "")
_CHECKPOINT_FILE = torch.utils.checkpoint.__file__

M = TypeVar("M", bound=TorchFunctionMode)


def prepare_checkpoint(frame: FrameType, kind: type[M], quiet: Callable[[], M], tell: Callable[[], None]) -> None:
    """Has the block whose checkpoint saves an input now run again beside a mode, and tell of compiled code.

    Args:
        frame: The frame of checkpoint's that saves.
        kind: The class of the mode, of which one is enough.
        quiet: Makes one. Like ``tell``, it holds nothing of the step: the block may run long after.
        tell: Called when compiled code has saved something in the block.
    """
    checkpoint = checkpoint_of(frame)
    if checkpoint is None or isinstance(checkpoint.recompute_fn, _Again):
        return
    checkpoint.recompute_fn = _Again(checkpoint.recompute_fn, kind, quiet)
    look = getattr(checkpoint, "metadata_fn", None)
    if look is not None:
        checkpoint.metadata_fn = _Look(look, tell)


class _Again(Generic[M]):
    """The second run of a block.

    Args:
        run: What checkpoint does.
        kind: The class of the mode beside which it runs.
        quiet: Makes one.
    """

    def __init__(self, run: Callable[..., None], kind: type[M], quiet: Callable[[], M]) -> None:
        functools.update_wrapper(self, run)
        self._run = run
        self._kind = kind
        self._quiet = quiet

    def __call__(self, *args: Any) -> None:
        if not has_compiled() or any(isinstance(mode, self._kind) for mode in function_modes()):
            self._run(*args)
        else:
            with self._quiet():
                self._run(*args)


class _Look:
    """What checkpoint notes of a tensor that its block saves.

    Args:
        look: What it notes.
        tell: Called when compiled code saves.
    """

    def __init__(self, look: Callable[[Any], Any], tell: Callable[[], None]) -> None:
        self._look = look
        self._tell = tell

    def __call__(self, tensor: Any) -> Any:
        if has_compiled() and _is_compiled(sys._getframe(1)):
            self._tell()
        return self._look(tensor)


def _is_compiled(frame: FrameType | None) -> bool:
    """Whether compiled code has called checkpoint's hook."""
    while frame is not None and frame.f_code.co_filename in (_CHECKPOINT_FILE, torch.autograd.function.__file__):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(COMPILED_FOLDER)

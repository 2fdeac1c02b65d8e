"""Parts of torch that run a custom Function or a backward pass of their own, told by the files they are in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Protocol

import torch
import torch.utils.checkpoint

from ..autograd import pair
from ..saved.boundaries import Boundaries
from ..saved.made import Made
from ..saved.waiting import Waiting
from .rerun import COMPILED_FOLDER
from .steep import Steep

CHECKPOINT = "checkpoint"
COMPILED = "compiled"
_TORCH = os.path.dirname(torch.__file__)
_CHECKPOINT_FILE = torch.utils.checkpoint.__file__
_REENTRANT = ("checkpoint", "_checkpoint_impl")  # until torch 2.13, and since
_SCHEDULES = os.path.join(_TORCH, "distributed", "pipelining", "")
_FUNCTION_FILE = torch.autograd.function.__file__
_GRADIENT_FILE = torch.autograd.__file__


class Packs(Protocol):
    """What waits for ops to show something, of one thread.

    Attributes:
        waiting: Saves that wait for their nodes.
        boundaries: Inputs of checkpointed blocks that wait for what their block does.
        made: Notes what ops make.
        steep: Is told of steep functions.
    """

    waiting: Waiting
    boundaries: Boundaries
    made: Made
    steep: Steep

    def end_forward(self) -> None:
        """Is called when a backward pass is about to begin."""


def function_of(frame: FrameType, prepare: Callable[[FrameType, bool], None]) -> tuple[str | None, bool]:
    """The name of one of torch's own custom Functions that saves, which is told by who runs it; None for any other.

    And whether a checkpointed block has run already: the reentrant one saves its inputs at its end.

    Args:
        frame: The function that saves.
        prepare: Called with the frame of a checkpoint, and whether its block has run.
    """
    if frame.f_code.co_filename == pair.__file__ and frame.f_back is not None:
        frame = frame.f_back
    if frame.f_code.co_filename == _FUNCTION_FILE and frame.f_back is not None:
        frame = frame.f_back
    code = frame.f_code
    if code.co_filename == _CHECKPOINT_FILE:
        has_run = code.co_name in _REENTRANT
        prepare(frame, has_run)
        return CHECKPOINT, has_run
    return COMPILED if code.co_filename.startswith(COMPILED_FOLDER) else None, False


def is_of_schedule() -> bool:
    """Whether a pipeline schedule has called the ``torch.autograd.grad`` that runs now."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename != _GRADIENT_FILE:
        frame = frame.f_back
    while frame is not None and frame.f_code.co_filename == _GRADIENT_FILE:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(_SCHEDULES)

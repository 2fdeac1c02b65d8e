"""A user's training script under ``gact profile``: its fourth step is measured, then the script is ended.

A step is what lies between two calls of ``optimizer.step``. The model is the outermost module that runs with
gradients and has parameters, and the compressor's context opens before its first forward pass and stays open, as one
around the whole training.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from ..compressor import Compressor
from ..memory import MemoryProfile
from ..memory.profile import StepProfiler
from ..planning.failures import users_traceback
from ..report import Report

WARM = 3
"""Steps before the one that is profiled: the first makes workspaces and state, the second measures sensitivities."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a script or a factory.

    Attributes:
        profile: Of its fourth step; None if it did not come to that.
        report: What the compressor kept in that step; None without one.
        failure: Why there is no profile; empty if there is one.
    """

    profile: MemoryProfile | None
    report: Report | None = None
    failure: str = ""


class _Done(BaseException):
    """Ends a script whose step has been measured."""


class _Watch:
    """Follows a script's steps.

    Args:
        bits: Average width of a code; None for plain training.
    """

    def __init__(self, bits: float | None) -> None:
        self.steps = 0
        self.profile: MemoryProfile | None = None
        self.compressor: Compressor | None = None  # None for plain training
        self._bits = bits
        self._model: nn.Module | None = None
        self._contexts = contextlib.ExitStack()
        self._profiler: StepProfiler | None = None

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Follows what runs inside."""
        with contextlib.ExitStack() as hooks, self._contexts:
            hooks.callback(register_module_forward_pre_hook(self._module_begins).remove)
            hooks.callback(register_optimizer_step_post_hook(self._stepped).remove)
            yield

    def _module_begins(self, module: nn.Module, args: Any) -> None:
        if self._model is None and torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters()):
            self._model = module
            if self._bits is not None:
                self.compressor = self._contexts.enter_context(Compressor(module, bits=self._bits))

    def _stepped(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.steps += 1
        if self._profiler is not None:
            self._profiler.__exit__(None, None, None)
            self.profile = self._profiler.profile()
            raise _Done
        if self.steps == WARM:
            values = [value for state in optimizer.state.values() for value in state.values()]
            self._profiler = StepProfiler(self._model, [value for value in values if isinstance(value, Tensor)])
            self._profiler.__enter__()


def run_script(path: str, arguments: list[str], bits: float | None) -> Outcome:
    """Run a script as ``python path *arguments`` would, until its fourth step has been measured.

    What it prints goes to the standard error.

    Args:
        path: The script.
        arguments: Its arguments.
        bits: Average width of a code; None for plain training.
    """
    sys.argv = [path, *arguments]
    sys.path[0:0] = [str(Path(path).resolve().parent)]
    watch, told = _Watch(bits), ""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            with watch.active():
                runpy.run_path(path, run_name="__main__")
        except _Done:
            pass
        except SystemExit as exit_:
            told = f" It ended with exit status {exit_.code}." if exit_.code else ""
        except BaseException as error:
            return Outcome(None, failure=f"{path} failed:\n{users_traceback(error)}")
    if watch.profile is None:
        return Outcome(None, failure=f"{path} {_missing(watch)}{told}")
    return Outcome(watch.profile, None if watch.compressor is None else watch.compressor.report())


def _missing(watch: _Watch) -> str:
    """Why there is nothing to tell."""
    if watch.steps == 0:
        return "called no optimizer.step(): a step is what lies between two such calls. Profile a script that trains."
    return (
        f"took {watch.steps} step(s), and the one after the first {WARM} is profiled: the first ones make workspaces "
        "and measure. Have it take more."
    )

"""Runs two training steps in a process of its own and prints what they took, as one line of JSON.

    python -m gact.planning.trials.child '{"factory": "package.module:factory", "level": "L1", "batch": 8, ...}'

The keys are those of ``Trial``.

NOTE: What is held throughout
Gradients stay in memory from step to step, as they do wherever they are accumulated or lie in buckets, and are there
before the first step; the optimizer's state is made in the first. So the memory that does not grow with the batch is
the same at every moment and at every level: with gradients that are freed between steps plain training, whose peak is
at the end of forward, has room that a level whose peak is in backward has not. For the same reason the allocator of
this package serves every level, plain training too.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from ...levels import level_of
from ...memory.allocator import follow_environment, is_for_steps_of, use_allocator
from ...memory.resident import peak_resident_bytes
from ..applied import AppliedPlan, applied_level
from ..factory import call_factory
from ..subject import loss_of
from .trial import Trial


def main(arguments: list[str]) -> int:
    """Train two steps.

    Args:
        arguments: A trial as JSON.

    Returns:
        Exit status.
    """
    trial = Trial(**json.loads(arguments[0]))
    torch.manual_seed(0)
    model, inputs, loss_fn = call_factory(trial.factory, trial.batch)
    follow_environment()
    if is_for_steps_of(model):
        use_allocator()
    context = _context(trial, model)
    optimizer = _optimizer(trial.optimizer, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        with context:
            loss = loss_of(model, inputs, loss_fn)
        context.backward(loss)
        del loss
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        seconds = time.perf_counter() - start
    peak = peak_resident_bytes()
    if peak is None:
        raise OSError("this system does not tell the peak of a process: /proc/self/status has no VmHWM.")
    print(json.dumps({"peak_bytes": peak, "seconds": seconds}))
    return 0


def _context(trial: Trial, model: torch.nn.Module) -> AppliedPlan:
    warnings.filterwarnings("ignore", message="gact compressed nothing")
    offload = None if trial.scratch is None else f"disk:{Path(trial.scratch)}"
    return applied_level(model, level_of(trial.level), offload, {"adaptive": False, "bits": trial.bits})


def _optimizer(name: str, model: torch.nn.Module) -> Any:
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=1e-5)
    return torch.optim.AdamW(model.parameters(), lr=1e-5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

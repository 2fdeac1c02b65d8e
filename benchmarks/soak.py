"""A long training of all that may go wrong in one, and interrupts at any place of it: nothing grows, nothing stays.

    python benchmarks/soak.py                       # 1,500 steps and 200 interrupts
    python benchmarks/soak.py --steps 300 --interrupts 40

Steps change their size, raise in forward or backward, are evaluations, are measured, are never read. Resident memory,
live tensors and Python's objects are compared between the first third and the end. Interrupts are raised where Python
looks for signals, in the package and around it, while a context is entered, forward and backward run, and it is left.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as modules

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import gact  # noqa: E402 - found as the benchmarks are
from gact.memory.resident import resident_bytes  # noqa: E402

WIDTH = 64
SIZES = (16, 64, 256)
PACKAGE = os.path.join(os.path.dirname(gact.__file__), "")
_ENGINE = torch.autograd._engine_run_backward
_SWITCH = torch.autograd.graph.disable_saved_tensors_hooks


class Block(nn.Module):
    """Norm, linear, dropout, a residual; raises where it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fails = ""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's result."""
        if self.fails == "forward":
            raise ArithmeticError("forward fails on purpose")
        hidden = nn.functional.dropout(nn.functional.gelu(self.linear(self.norm(x))), 0.1)
        if self.fails == "backward":
            hidden.register_hook(_fail)
        return x + hidden


def _fail(gradient: torch.Tensor) -> None:
    if not gact.is_measuring():  # a measurement that fails is the last one
        raise ArithmeticError("backward fails on purpose")


@dataclass(frozen=True)
class Held:
    """What a process holds.

    Attributes:
        resident: Bytes of its resident set; 0 where the system does not tell.
        tensors: Live tensors.
        objects: Objects that Python's collector knows.
    """

    resident: int
    tensors: int
    objects: int

    @classmethod
    def now(cls) -> Held:
        """What is held now."""
        gc.collect()
        objects = gc.get_objects()
        tensors = sum(issubclass(type(each), torch.Tensor) for each in objects)
        return cls(resident_bytes() or 0, tensors, len(objects))


class Soak:
    """A small network in training.

    Args:
        seed: Of weights, data, and what happens when.
        options: Of the compressor.
    """

    def __init__(self, seed: int = 0, **options: Any) -> None:
        torch.manual_seed(seed)
        self._chance = random.Random(seed)
        self.model = nn.Sequential(nn.Linear(WIDTH, WIDTH), *(Block() for _ in range(3)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.compressor = gact.Compressor(self.model, bits=4, min_bytes=1024, probe_interval=50, **options)

    def step(self, kind: str, size: int) -> None:
        """One step.

        Args:
            kind: ``"train"``, ``"forward"`` or ``"backward"`` (which fails), ``"evaluate"``, ``"measure"`` or
                ``"unread"``, which runs no backward.
            size: Rows of its batch.
        """
        x = torch.randn(size, WIDTH)
        block: Any = self.model[self._chance.randrange(1, 4)]
        block.fails = kind
        try:
            if kind == "evaluate":
                with warnings.catch_warnings(), self.compressor, torch.no_grad():
                    warnings.simplefilter("ignore")  # nothing was compressed
                    self.model(x)
                return
            if kind == "measure":
                self.compressor.measure_next()
            with self.compressor:
                loss = self.model(x).square().mean()
            if kind != "unread":
                loss.backward()
                self.optimizer.step()
            str(self.compressor.report())
        except ArithmeticError:
            pass
        finally:
            block.fails = ""
            self.optimizer.zero_grad()

    def run(self, steps: int) -> None:
        """So many steps: seven in ten ordinary ones."""
        kinds = ("train", "forward", "backward", "evaluate", "measure", "unread")
        for _ in range(steps):
            self.step(self._chance.choices(kinds, (70, 6, 6, 8, 4, 6))[0], self._chance.choice(SIZES))


def left() -> list[str]:
    """The names of what a context of this process has left behind."""
    found = {
        "hooks": torch._C._autograd._top_saved_tensors_default_hooks(True) is not None,
        "function mode": torch._C._len_torch_function_stack() > 0,
        "module hooks": bool(modules._global_forward_pre_hooks or modules._global_forward_hooks),
        "engine": torch.autograd._engine_run_backward is not _ENGINE,
        "switch": torch.autograd.graph.disable_saved_tensors_hooks is not _SWITCH,
        "allocator": gact.allocator_status().enabled,
    }
    return [name for name, there in found.items() if there]


def interrupted(run: Callable[[], None], at: int) -> bool:
    """Runs something and raises ``KeyboardInterrupt`` the n-th time that Python looks for signals in the package.

    Args:
        run: What is interrupted.
        at: Which time.

    Returns:
        Whether it got so far.

    Raises:
        RuntimeError: If the interrupt was lost.
    """
    count, came = 0, False

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count, came
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(PACKAGE) and not _dies(frame):
            count += 1
            if count == at:
                came = True
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        run()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    if came:
        raise RuntimeError(f"the interrupt at place {at} was lost")
    return False


def _dies(frame: FrameType | None) -> bool:
    """Whether a frame runs for a ``__del__`` or a callback of a weak reference, out of which Python lets no error.

    Nor does it out of a generator that is closed before its end, as ``any`` does.
    """
    if frame is not None and frame.f_code.co_flags & CO_GENERATOR:
        return True
    while frame is not None and frame.f_code.co_filename != __file__:
        if frame.f_code.co_name in ("__del__", "finish"):
            return True
        frame = frame.f_back
    return False


def interrupts(soak: Soak, count: int) -> Iterator[tuple[int, list[str]]]:
    """Interrupts steps at places spread over all of them; yields each place and what was left behind.

    Args:
        soak: The training.
        count: How many interrupts.
    """
    places = 0

    def counted(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal places
        places += event in ("call", "c_return") and frame.f_code.co_filename.startswith(PACKAGE)

    sys.setprofile(counted)
    try:
        soak.step("train", SIZES[1])
    finally:
        sys.setprofile(None)
    for number in range(count):
        at = 1 + number * places // count
        interrupted(lambda: soak.step("train", SIZES[1]), at)
        soak.optimizer.zero_grad()
        soak.optimizer.step()  # ends a step that the interrupt left unfinished
        yield at, left()


def main(arguments: list[str]) -> int:
    """Runs what the command line asks for; 1 if something grew or stayed."""
    parser = argparse.ArgumentParser(prog="benchmarks/soak.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--interrupts", type=int, default=200)
    asked = parser.parse_args(arguments)
    soak = Soak()
    soak.run(asked.steps // 3)
    before = Held.now()
    soak.run(asked.steps - asked.steps // 3)
    after = Held.now()
    print(f"after {asked.steps // 3} steps: {before}\nafter {asked.steps} steps: {after}", flush=True)
    bad = after.tensors > before.tensors or after.resident > 1.05 * before.resident
    dirty = [(at, what) for at, what in interrupts(soak, asked.interrupts) if what]
    print(f"{asked.interrupts} interrupts, {len(dirty)} left something behind: {dirty[:5]}")
    print(f"after {asked.interrupts} interrupts: {Held.now()}")
    return int(bad or bool(dirty))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

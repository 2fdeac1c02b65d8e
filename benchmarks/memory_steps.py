"""Steps of one training in a process of its own: resident and live peaks by phase, time, page faults."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

MIB = 2**20
PHASES = ("forward", "backward", "after")
WARM = 3
"""Steps that are not counted: the first makes workspaces, the second measures, the third reads the noise meter."""
TCMALLOC = ctypes.util.find_library("tcmalloc_minimal") or ctypes.util.find_library("tcmalloc")
WAYS_OF_MEMORY = {
    "c library": {"GACT_ALLOCATOR": "0"},
    "low threshold": {"GACT_ALLOCATOR": "0", "MALLOC_MMAP_THRESHOLD_": str(MIB)},
    "malloc_trim": {"GACT_ALLOCATOR": "0"},
    "gact": {"GACT_ALLOCATOR": "1"},
    **({"tcmalloc": {"GACT_ALLOCATOR": "0", "LD_PRELOAD": TCMALLOC}} if TCMALLOC else {}),
}
"""Where the memory of CPU tensors comes from, as variables of the environment."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a child process reports, sizes in MiB.

    Attributes:
        seconds: Time of each counted step.
        faults: Page faults of each.
        resident: Highest resident set of each phase above the one before the first step, the highest of the steps.
        live: Highest bytes of tensors alive in each phase of one step.
        kept: Bytes that autograd holds after forward, by the report; None for plain training.
        batch: Samples in a batch.
    """

    seconds: list[float]
    faults: list[int]
    resident: dict[str, float]
    live: dict[str, float]
    kept: float | None
    batch: int


def train_apart(network: str, bits: float | None, memory: str, steps: int, tiny: bool) -> Taken:
    """Trains a network for some steps in a fresh process.

    Args:
        network: Key of ``benchmarks.networks.NETWORKS``.
        bits: Average width; None for plain training.
        memory: Key of ``WAYS_OF_MEMORY``.
        steps: How many are counted.
        tiny: The much smaller network.
    """
    call = [sys.executable, "-m", "benchmarks.memory_steps", json.dumps([network, bits, memory, steps, tiny])]
    environment = {**os.environ, **WAYS_OF_MEMORY[memory]}
    done = subprocess.run(
        call, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1], env=environment
    )
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def _trimmer(memory: str) -> Callable[[], object]:
    """What runs between phases."""
    if memory != "malloc_trim":
        return lambda: None
    trim = ctypes.CDLL(None).malloc_trim
    return lambda: trim(0)


def _train(network: str, bits: float | None, memory: str, steps: int, tiny: bool) -> Taken:
    import torch

    import gact
    from benchmarks.networks import build
    from gact.memory.allocator import follow_environment
    from gact.memory.resident import ResidentPeak, resident_bytes

    built = build(network, tiny=tiny)
    optimizer = torch.optim.AdamW(built.model.parameters(), lr=1e-5)
    follow_environment()  # plain training makes no compressor that would
    compressor = None if bits is None else gact.Compressor(built.model, bits=bits)
    trim, peak = _trimmer(memory), ResidentPeak()
    start, highest = resident_bytes() or 0, dict.fromkeys(PHASES, 0)
    kept = None

    def step(note: Callable[[str], object]) -> None:
        nonlocal kept
        with compressor or contextlib.nullcontext():
            loss = built.loss()
        kept = None if compressor is None else compressor.report().kept_bytes / MIB
        note("forward")
        loss.backward() if compressor is None else compressor.backward(loss)
        note("backward")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        note("after")

    def note(phase: str) -> None:
        highest[phase] = max(highest[phase], (peak.read() or start) - start)
        trim()
        peak.reset()

    seconds, faults = [], []
    for number in range(WARM + steps):
        if number == WARM:
            highest.update(dict.fromkeys(PHASES, 0))
            peak.reset()
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        step(note)
        if number >= WARM:
            seconds.append(time.perf_counter() - began)
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    state = [value for each in optimizer.state.values() for value in each.values() if isinstance(value, torch.Tensor)]
    profile = gact.profile_step(lambda: step(lambda phase: None), built.model, state)
    live = {phase: profile.phase_peaks.get(phase, 0) / MIB for phase in PHASES}
    resident = {phase: size / MIB for phase, size in highest.items()} if peak.available else {}
    return Taken(seconds, faults, resident, live, kept, built.batch)


if __name__ == "__main__":
    print(json.dumps(asdict(_train(*json.loads(sys.argv[1])))))

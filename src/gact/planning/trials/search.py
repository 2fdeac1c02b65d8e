"""Finds the largest batch that trains within a limit of memory, each attempt in a process of its own.

NOTE: What the limit means
The limit is on the resident set of the whole process, Python and libraries included: the pages that it really has in
memory. The kernel notes the highest value of every process (``VmHWM``), and an attempt fits only if it finishes and
this is within the limit. So no peak is missed, however short. A watchdog reads the resident set all the time and kills
an attempt that is over the limit, to spare the machine and the time. The alternatives are not truthful: ``RLIMIT_AS``
counts addresses, of which torch reserves gigabytes that it never touches; ``RLIMIT_DATA`` counts writable addresses,
touched or not, and leaves out shared memory; a memory cgroup needs rights that users rarely have.

NOTE: How few attempts
The first attempt is small. What it takes beyond its predicted live tensors is what Python and the libraries take, and
the second attempt is the largest batch that is then predicted to fit. From there on the law goes through the attempts
themselves, which know what an allocator wastes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...checks import check_choice, check_count, check_memory
from ...errors import GactError
from ...levels import LEVELS, level_of
from ...memory.resident import resident_bytes
from .guess import Law, predictor_of
from .trial import OPTIMIZERS, Trial

_POLL = 0.02
AVAILABLE = tuple(LEVELS)


class MaxBatchError(GactError, RuntimeError):
    """An attempt failed for another reason than memory; the message has what it printed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One training of two steps.

    Attributes:
        batch: Samples.
        fits: Whether it finished within the limit.
        peak_bytes: Highest resident set; of an attempt that was stopped, the last one seen.
        seconds: Time of the second step; 0 if it was stopped.
    """

    batch: int
    fits: bool
    peak_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class MaxBatch:
    """The largest batch of a level.

    Attributes:
        level: The level.
        batch: Largest batch found; 0 if not even one sample fits.
        peak_bytes: Its highest resident set.
        seconds: Time of its second step.
        attempts: All that was tried.
    """

    level: str
    batch: int
    peak_bytes: int
    seconds: float
    attempts: tuple[Attempt, ...]


def max_batch(
    factory: str,
    limit: int | str,
    level: str = "L0",
    *,
    bits: int = 4,
    optimizer: str = "adamw",
    scratch: str | None = None,
    start: int = 1,
    most: int = 65536,
    tell: Callable[[Attempt], None] | None = None,
) -> MaxBatch:
    """The largest batch that trains two steps within a limit, to within three parts in a hundred.

    Args:
        factory: ``package.module:function``, which is called with a batch size and returns a model, a batch and
            possibly a loss function.
        limit: Bytes that the process may have in memory, a number or a text such as ``"2 GiB"``.
        level: ``"L0"``, ``"checkpointing"``, ``"L1"``, ``"L2"``, ``"CB1"`` or ``"CB2"``. The codes of L2 go to a
            file where the model is on the CPU.
        bits: Width of codes.
        optimizer: ``"adamw"`` or ``"sgd"``.
        scratch: Existing directory in which the codes of L2 wait, in one that is removed afterwards; None for that of
            temporary files.
        start: Batch to begin with; a small one is best.
        most: Largest batch to try.
        tell: Called after every attempt.

    Raises:
        ValueError: If an argument is out of range.
        MaxBatchError: If an attempt fails for another reason than memory.
    """
    budget = check_memory(limit)
    if budget is None:
        raise ValueError('limit must be a number of bytes or a text such as "2 GiB", got None.')
    check_count("start", start, 1)
    check_choice("optimizer", optimizer, OPTIMIZERS)
    attempts: list[Attempt] = []
    with contextlib.ExitStack() as stack:
        folder = scratch
        if level_of(level).offload:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gact-", dir=scratch))
        trial = Trial(factory, level, start, bits, optimizer, folder)

        def peak(batch: int) -> int | None:
            attempts.append(attempt(replace(trial, batch=batch), budget))
            if tell is not None:
                tell(attempts[-1])
            return attempts[-1].peak_bytes if attempts[-1].fits else None

        search(peak, budget, start, most, lambda: predictor_of(trial))
    best = max((each for each in attempts if each.fits), key=lambda each: each.batch, default=Attempt(0, False, 0, 0.0))
    return MaxBatch(level, best.batch, best.peak_bytes, best.seconds, tuple(attempts))


def search(
    peak: Callable[[int], int | None],
    limit: int,
    start: int,
    most: int,
    predictor: Callable[[], Callable[[int], int] | None] = lambda: None,
) -> int:
    """The largest batch that fits, to within three parts in a hundred; 0 if not even one does.

    Args:
        peak: Tries a batch: its peak, or None if it does not fit. Batches below one that fits do too.
        limit: Bytes that a peak may have.
        start: The first to try.
        most: The last.
        predictor: Makes what predicts the peak of live tensors at a batch, if anything does; asked once, when the
            first attempt fits.
    """
    first = min(start, most)
    law = Law(limit, most)
    law.learn(first, peak(first))
    if law.low and not law.is_settled:
        law.predict(predictor())
    while not law.is_settled:
        batch = law.next()
        law.learn(batch, peak(batch))
    return law.low


def attempt(trial: Trial, limit: int) -> Attempt:
    """Trains two steps in a process of its own.

    Raises:
        MaxBatchError: If it fails for another reason than memory.
    """
    command = [sys.executable, "-m", "gact.planning.trials.child", json.dumps(asdict(trial))]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=out, stderr=errors, env=_environment())
        try:
            seen = _watch(child, limit)
        finally:
            child.kill()
            child.wait()
        out.seek(0)
        errors.seek(0)
        printed, complaint = out.read().decode(errors="replace"), errors.read().decode(errors="replace")
    if seen > limit:
        return Attempt(trial.batch, False, seen, 0.0)
    if child.returncode:
        # The system may have refused or stopped it before the watchdog looked.
        if child.returncode == -9 or "not enough memory" in complaint or "MemoryError" in complaint:
            return Attempt(trial.batch, False, seen, 0.0)
        lines = complaint.strip().splitlines()[-8:] or [f"it ended with status {child.returncode} and said nothing"]
        raise MaxBatchError(
            f"{trial.factory} failed at level {trial.level} with batch {trial.batch}, and not for want of memory:\n"
            + "\n".join(lines)
        )
    figures = json.loads(printed.strip().splitlines()[-1])
    peak = int(figures["peak_bytes"])
    return Attempt(trial.batch, peak <= limit, peak, float(figures["seconds"]))


def _watch(child: subprocess.Popen[bytes], limit: int) -> int:
    """Waits for a process, or kills it when it is over the limit; the last resident set seen."""
    seen = 0
    while child.poll() is None:
        seen = resident_bytes(Path("/proc") / str(child.pid)) or seen
        if seen > limit:
            child.kill()
            break
        time.sleep(_POLL)
    return seen


def _environment() -> dict[str, str]:
    """The environment, with everything on the path that this process finds its modules on."""
    paths = dict.fromkeys([os.getcwd(), *sys.path])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}

"""Finds the largest batch that trains within a limit of memory, each attempt in a process of its own.

NOTE: What the limit means
The limit is on the resident set of the whole process, Python and libraries included: the pages that it really has in
memory. The kernel notes the highest value of every process (``VmHWM``), and an attempt fits only if it finishes and
this is within the limit. So no peak is missed, however short. A watchdog reads the resident set all the time and kills
an attempt that is over the limit, to spare the machine and the time. The alternatives are not truthful: ``RLIMIT_AS``
counts addresses, of which torch reserves gigabytes that it never touches; ``RLIMIT_DATA`` counts writable addresses,
touched or not, and leaves out shared memory; a memory cgroup needs rights that users rarely have.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..guards import check_count, check_memory
from ..memory.resident import resident_bytes
from ..planning.levels import LEVELS, level_of

_POLL = 0.02
AVAILABLE = tuple(name for name, level in LEVELS.items() if not level.offload and not level.attention)


class MaxBatchError(RuntimeError):
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
    start: int = 1,
    most: int = 65536,
    tell: Callable[[Attempt], None] | None = None,
) -> MaxBatch:
    """The largest batch that trains two steps within a limit.

    Doubles the batch until it does not fit, then bisects, to within three parts in a hundred.

    Args:
        factory: ``package.module:function``, which is called with a batch size and returns a model, a batch and
            possibly a loss function.
        limit: Bytes that the process may have in memory, a number or a text such as ``"2 GiB"``.
        level: ``"L0"``, ``"checkpointing"``, ``"L1"`` or ``"CB1"``.
        bits: Width of codes.
        start: Batch to begin with.
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
    if level_of(level).name not in AVAILABLE:
        raise ValueError(f"level must be one of {', '.join(map(repr, AVAILABLE))} here, got {level!r}.")
    attempts: list[Attempt] = []

    def fits(batch: int) -> bool:
        attempts.append(attempt(factory, level, batch, bits, budget))
        if tell is not None:
            tell(attempts[-1])
        return attempts[-1].fits

    bisect(fits, start, most)
    best = max((each for each in attempts if each.fits), key=lambda each: each.batch, default=Attempt(0, False, 0, 0.0))
    return MaxBatch(level, best.batch, best.peak_bytes, best.seconds, tuple(attempts))


def bisect(fits: Callable[[int], bool], start: int, most: int) -> int:
    """The largest number that fits, to within three parts in a hundred; 0 if not even one does.

    Args:
        fits: Whether a number fits; those below one that fits do too.
        start: The first to try.
        most: The last.
    """
    low, high, guess = 0, most + 1, min(start, most)
    while high - low > 1 + low // 32:
        if fits(guess):
            low = guess
        else:
            high = guess
        guess = min(2 * low, most) if low and high > most else (low + high) // 2
        if high > most and low == most:
            break
    return low


def attempt(factory: str, level: str, batch: int, bits: int, limit: int) -> Attempt:
    """Trains two steps in a process of its own.

    Raises:
        MaxBatchError: If it fails for another reason than memory.
    """
    command = [sys.executable, "-m", "gact.maxbatch.child", factory, level, str(batch), str(bits)]
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
        return Attempt(batch, False, seen, 0.0)
    if child.returncode:
        # The system may have refused or stopped it before the watchdog looked.
        if child.returncode == -9 or "not enough memory" in complaint or "MemoryError" in complaint:
            return Attempt(batch, False, seen, 0.0)
        lines = complaint.strip().splitlines()[-8:]
        raise MaxBatchError(
            f"{factory} failed at level {level} with batch {batch}, and not for want of memory:\n" + "\n".join(lines)
        )
    figures = json.loads(printed.strip().splitlines()[-1])
    peak = int(figures["peak_bytes"])
    return Attempt(batch, peak <= limit, peak, float(figures["seconds"]))


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

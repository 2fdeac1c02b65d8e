"""Memory of large CPU tensors that goes back to the system when they die, without page faults at every turn.

NOTE: Why the C library is not enough
Compression lets activations die during forward, but what dies must also leave the process. glibc keeps freed blocks
below 32 MiB on its heap, in holes that small long-lived objects keep apart and that (before 2.38) an aligned request of
the same size does not fit into: the resident set hardly falls. A low ``M_MMAP_THRESHOLD`` has each block mapped afresh,
and a step that allocates tens of times its peak then spends its time in page faults. So large tensors get a region of
their own, in which freed ranges join, are used again while they are in memory, and are given back before tensors and
holes together take more than the tensors' own peak.

NOTE: How
The two functions of torch's ``libc10`` that allocate and free CPU tensors call ``posix_memalign`` and ``free`` of the C
library. The slots through which that library (and no other) calls these are pointed at ours. This holds for the whole
process and for every CPU tensor, ours or not; memory is told apart by its address, so it may be switched on and off at
any time.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from torch import nn

from ..checks import check_count
from ..forks import new_lock
from ..ops import cpu

ENVIRONMENT = "GACT_ALLOCATOR"
MIN_BYTES = 128 * 2**10
_AUTOMATIC = 2 ** (8 * ctypes.sizeof(ctypes.c_size_t)) - 1
_REASONS = {
    1: "this system is not supported: Linux on x86-64 or ARM is",
    2: "the address space of this process is limited (ulimit -v)",
    3: "this torch has no libc10.so that calls posix_memalign and free",
}


@dataclass(frozen=True, slots=True)
class AllocatorStatus:
    """What the allocator does.

    Attributes:
        enabled: Whether large CPU tensors come from it.
        reason: Why not, and what to do; or how it was switched on.
        used_bytes: Bytes of tensors in it.
        free_bytes: Free bytes that are kept in memory for the next tensors.
        peak_bytes: Most of both at one time.
    """

    enabled: bool
    reason: str
    used_bytes: int = 0
    free_bytes: int = 0
    peak_bytes: int = 0


class _State:
    lock = new_lock()
    enabled = False
    decided = False
    reason = (
        "off: a Compressor of a model on the CPU switches it on in its training steps, gact.use_allocator() in the "
        "whole process"
    )


def use_allocator(
    enabled: bool = True, *, keep_bytes: int | None = None, min_bytes: int = MIN_BYTES
) -> AllocatorStatus:
    """Has torch take the memory of large CPU tensors, in the whole process, from an allocator that gives it back.

    Numbers do not change, only where tensors lie. Tensors made before stay where they are.

    Args:
        enabled: False returns to the C library for new tensors.
        keep_bytes: Free bytes that stay in memory to be used again; fewer are smaller and slower. None for as many as
            keep used and free ones together within what tensors lately took at one time, so that a step finds the
            memory of the last one; 0 gives back everything at once.
        min_bytes: Smaller tensors stay with the C library.

    Returns:
        What runs now; ``enabled`` is False where it is not possible, and ``reason`` says why.

    Raises:
        ValueError: If a size is negative.
    """
    keep = _AUTOMATIC if keep_bytes is None else check_count("keep_bytes", keep_bytes, 0)
    least = check_count("min_bytes", min_bytes, 1)
    with _State.lock:
        _State.decided = True
        _switch(enabled, "on in the whole process", "switched off", least, keep)
    return allocator_status()


def serve_steps(on: bool) -> None:
    """Switches the allocator on or off around a training step, unless the user has decided.

    Args:
        on: Whether a step begins; otherwise it ends.
    """
    with _State.lock:
        if not _State.decided:
            _switch(on, "on in the training steps of a Compressor", "off between the training steps of a Compressor")


def _switch(enabled: bool, on: str, off: str, least: int = MIN_BYTES, keep: int = _AUTOMATIC) -> None:
    """Switches the allocator under the lock, and notes in words what is so now."""
    library = cpu.library()
    if library is None:
        _State.reason = "not possible: the C++ kernels are not built or not loaded"
    elif enabled:
        failure = library.gact_allocator_install(4 * _memory())
        _State.enabled = not failure
        _State.reason = f"not possible: {_REASONS[failure]}" if failure else on
        library.gact_allocator_set(int(_State.enabled), least, keep)
    elif _State.enabled:
        library.gact_allocator_set(0, least, keep)
        _State.enabled, _State.reason = False, off


def allocator_status() -> AllocatorStatus:
    """What the allocator does now, in this process."""
    library, figures = cpu.library(), (ctypes.c_size_t * 5)()
    if library is not None:
        library.gact_allocator_figures(figures)
    return AllocatorStatus(_State.enabled, _State.reason, *figures[:3])


def follow_environment() -> None:
    """Decides as the environment says, unless somebody has decided."""
    wanted = os.environ.get(ENVIRONMENT, "")
    if wanted in ("0", "1") and not _State.decided:
        use_allocator(wanted == "1")


def is_for_steps_of(model: nn.Module | None) -> bool:
    """Whether a model's training steps are to have the allocator: those on the CPU, unless somebody has decided."""
    return not _State.decided and model is not None and any(each.device.type == "cpu" for each in model.parameters())


def _memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0

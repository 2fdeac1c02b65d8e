"""How much memory of codes the C++ kernels keep for the next codes.

Fresh memory costs a page fault every 4 KiB, which takes longer than writing codes there. So the memory of large codes
is used again when a tensor gives it back: see the note in ``csrc/arena.cpp``. What is kept belongs to no tensor.
"""

from __future__ import annotations

import os

from . import cpu

ENVIRONMENT = "GACT_ARENA_MIB"


def kept() -> int:
    """Bytes that are kept now and belong to no tensor; 0 without the C++ kernels."""
    library = cpu.library()
    return 0 if library is None else int(library.gact_arena_kept())


def limit(nbytes: int) -> None:
    """Keep at most so many bytes from now on, and give the rest back to the system.

    Args:
        nbytes: 0 keeps nothing and gives everything back. 64 MiB unless the environment variable ``GACT_ARENA_MIB``
            says otherwise.

    Raises:
        ValueError: If ``nbytes`` is negative.
    """
    if nbytes < 0:
        raise ValueError(f"nbytes must be 0 (keep nothing) or more, got {nbytes}.")
    library = cpu.library()
    if library is not None:
        library.gact_arena_limit(nbytes)


def configure() -> None:
    """Take the limit from the environment, if it is there.

    Raises:
        RuntimeError: If it is not a whole number of MiB.
    """
    text = os.environ.get(ENVIRONMENT, "")
    if text and not text.isdecimal():
        raise RuntimeError(f"{ENVIRONMENT} must be a whole number of MiB, 0 to keep nothing; got {text!r}.")
    if text:
        limit(int(text) << 20)

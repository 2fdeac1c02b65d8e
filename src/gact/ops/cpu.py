"""Loads the C++ kernels of the CPU and says which ones run.

The extension is a plain shared library (``gact._C``): loading it registers its kernels under ``torch.ops.gact``.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import GactWarning

INSTRUCTION_SETS = ("avx512", "avx2", "baseline")
ENVIRONMENT = "GACT_CPU"


@dataclass(frozen=True, slots=True)
class Status:
    """Which kernels run on the CPU.

    Attributes:
        kernels: ``"C++"`` or ``"plain torch"``.
        instruction_set: One of ``INSTRUCTION_SETS``, or ``""`` with plain torch.
        available: The instruction sets this machine can run.
        reason: Why these kernels run, and what to do if they are not the fastest.
    """

    kernels: str
    instruction_set: str
    available: tuple[str, ...]
    reason: str


class _Extension:
    """The loaded extension, if there is one."""

    library: ctypes.CDLL | None = None
    failure = ""


_POINTER, _INT, _WHOLE, _REAL = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_double
_GRID = [_WHOLE] * 5
_SIGNATURES: dict[str, list[Any]] = {
    "gact_instruction_set": [ctypes.c_char_p],
    "gact_allocator_install": [_INT, ctypes.c_size_t],
    "gact_allocator_set": [None, _INT, ctypes.c_size_t, ctypes.c_size_t],
    "gact_allocator_figures": [None, _POINTER],
    "gact_rows_differ": [_INT, _POINTER, _INT, _WHOLE, _WHOLE, _WHOLE, _REAL],
    "gact_extremes_of_runs": [None, _POINTER, _INT, _WHOLE, _WHOLE, _POINTER, _POINTER],
    "gact_mean_square_slope": [_REAL, _POINTER, _INT, _WHOLE, _WHOLE, _REAL, _REAL],
    "gact_channels_differ": [_INT, _POINTER, _POINTER, _WHOLE, _WHOLE, _WHOLE, _REAL, _REAL],
    "gact_look_at_columns": [_INT, _POINTER, _INT, *5 * [_POINTER]],
    "gact_gather_set": [_WHOLE, _POINTER, _INT, _WHOLE, _POINTER, _POINTER, _WHOLE],
    "gact_scatter_set": [None, _POINTER, _POINTER, _INT, _WHOLE, _POINTER],
    "gact_box_extremes": [None, _POINTER, _INT, *_GRID, _POINTER, _POINTER],
    "gact_box_narrow": [None, _POINTER, _INT, *_GRID, _WHOLE, _WHOLE, _POINTER, _POINTER, _POINTER],
    "gact_box_restore": [None, _POINTER, *_GRID, _WHOLE, _WHOLE, _POINTER, _POINTER],
    "gact_box_spread": [None, _POINTER, *_GRID, *4 * [_WHOLE], _POINTER],
    "gact_box_bounds": [None, _POINTER, _POINTER, _WHOLE, _WHOLE, _POINTER, _POINTER],
    "gact_box_tables": [None, _POINTER, _POINTER, _WHOLE, _WHOLE, _POINTER, _POINTER, _POINTER],
    "gact_box_encode": [None, _POINTER, _INT, *_GRID, _POINTER, _POINTER, _INT, _WHOLE, _WHOLE, _POINTER, _POINTER],
    "gact_box_decode": [
        *[None, _POINTER, _POINTER, _INT, _WHOLE, _WHOLE, *_GRID, _WHOLE, _WHOLE, _POINTER, _POINTER, _INT, _POINTER]
    ],
    "gact_box_bands": [None, _POINTER, _INT, *_GRID, _POINTER, _WHOLE, _WHOLE, _POINTER, _POINTER],
    "gact_box_look": [ctypes.c_float, _POINTER, _INT, *_GRID, _POINTER, _POINTER, _POINTER],
    "gact_box_unevenness": [ctypes.c_float, _POINTER, _POINTER, _WHOLE, _WHOLE],
}
"""What the functions of the extension that are no operators return, and their arguments."""


def _path() -> Path | None:
    return next(iter(sorted(Path(__file__).parents[1].glob("_C*.so"))), None)


def load() -> None:
    """Load the extension; without it, warn once what runs instead and how to get it.

    Raises:
        RuntimeError: If the environment asks for an instruction set that this machine lacks.
    """
    wanted = os.environ.get(ENVIRONMENT, "")
    if wanted == "reference":
        _Extension.failure = f"{ENVIRONMENT}=reference asks for it."
        return
    path = _path()
    if path is None:
        _Extension.failure = "the C++ extension is not built."
    else:
        try:
            torch.ops.load_library(str(path))
            library = ctypes.CDLL(str(path))
            for name, (result, *arguments) in _SIGNATURES.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
            _Extension.library = library
        except OSError as error:
            _Extension.failure = f"the C++ extension does not load ({error})."
        except AttributeError as error:
            _Extension.failure = f"the C++ extension was built from another version of gact ({error})."
    if _Extension.library is None:
        warnings.warn(
            f"gact: {_Extension.failure} Plain torch runs instead: the same numbers, many times slower. "
            "Build it with `pip install --no-build-isolation --force-reinstall --no-deps gact` and a C++17 compiler.",
            GactWarning,
            stacklevel=2,
        )
    elif wanted:
        use_instruction_set(wanted)


def library() -> ctypes.CDLL | None:
    """The loaded extension, if there is one."""
    return _Extension.library


def available() -> tuple[str, ...]:
    """The instruction sets that this machine can run, best first; empty without the extension."""
    library = _Extension.library
    if library is None:
        return ()
    return tuple(name for name in INSTRUCTION_SETS if library.gact_has_instruction_set(name.encode()))


def use_instruction_set(name: str) -> None:
    """Run the kernels of another instruction set from now on, in all threads.

    Args:
        name: One of ``available()``.

    Raises:
        RuntimeError: If the extension is missing, or the machine or the build lacks that instruction set.
    """
    library = _Extension.library
    if library is None:
        raise RuntimeError(f"No instruction set can be chosen: {_Extension.failure}")
    if not library.gact_use_instruction_set(name.encode()):
        raise RuntimeError(
            f"{ENVIRONMENT} must be one of {', '.join(available())} on this machine, or reference; got {name!r}. "
            "Unset it to use the best there is."
        )


def status() -> Status:
    """Which kernels run on the CPU and why."""
    library = _Extension.library
    if library is None:
        return Status("plain torch", "", (), _Extension.failure)
    active = library.gact_instruction_set().decode()
    if os.environ.get(ENVIRONMENT):
        reason = f"{ENVIRONMENT}={os.environ[ENVIRONMENT]} asks for it."
    else:
        reason = "the best that this machine has."
    return Status("C++", active, available(), reason)

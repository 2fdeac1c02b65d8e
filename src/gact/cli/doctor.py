"""``gact doctor``: what is installed, what runs, does it work."""

from __future__ import annotations

import platform
import time
from importlib.util import find_spec

import torch
from rich.console import Console

from .. import __version__
from ..ops import status
from ..selftest import run_checks
from .extras import EXTRAS, missing, versions

_NAME_WIDTH = 28


def run_doctor() -> int:
    """Print the facts, run the self-test.

    Returns:
        Exit status: 0, or 1 if a check failed.
    """
    console = Console(soft_wrap=True, highlight=False)
    for name, fact in facts():
        console.print(f"{name:{_NAME_WIDTH}} {fact}", markup=False)
    start = time.perf_counter()
    checks = run_checks()
    console.print(f"\nself-test, {time.perf_counter() - start:.1f} s")
    for check in checks:
        console.print(f"{check.name:{_NAME_WIDTH}} {'ok' if check.passed else 'FAILED'}: {check.detail}", markup=False)
    if all(check.passed for check in checks):
        return 0
    console.print("\nThe self-test failed: gradients would be wrong. GACT_CPU=reference runs plain torch instead.")
    return 1


def facts() -> list[tuple[str, str]]:
    """What this machine and this installation are, as names and facts."""
    kernels = status()
    return [
        ("gact", __version__),
        ("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("platform", platform.platform()),
        ("CPU kernels", f"{kernels.kernels}: {kernels.reason}"),
        ("instruction set", kernels.instruction_set or "none of ours: plain torch chooses"),
        ("instruction sets available", ", ".join(kernels.available) or "none without the C++ kernels"),
        ("GPU", _gpu()),
        ("triton", _triton()),
        *((f"extra '{extra}'", _extra(extra)) for extra in EXTRAS),
    ]


def _gpu() -> str:
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return "none that this torch can use"
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    return f"{name}: plain torch kernels; the C++ ones are for the CPU"


def _triton() -> str:
    return "installed; this release has no Triton kernels" if find_spec("triton") else "not installed"


def _extra(extra: str) -> str:
    absent = missing(extra)
    remedy = f" - pip install {' '.join(absent)}" if absent else ""
    return versions(extra) + remedy

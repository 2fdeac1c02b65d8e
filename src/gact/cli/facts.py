"""What this machine and this installation are."""

from __future__ import annotations

import platform
from importlib.util import find_spec

import torch

from .. import __version__
from ..autograd.internals import has_kernel
from ..memory.allocator import allocator_status
from ..ops import status
from .extras import EXTRAS, missing, versions


def threads() -> str:
    """How many threads torch uses, in words."""
    count = torch.get_num_threads()
    return "1 thread" if count == 1 else f"{count} threads"


def kernels() -> str:
    """Which kernels run on the CPU, in a word or two."""
    active = status()
    return f"{active.kernels} ({active.instruction_set})" if active.instruction_set else active.kernels


def facts() -> list[tuple[str, str]]:
    """What this machine and this installation are, as names and facts."""
    active = status()
    return [
        ("gact", __version__),
        ("torch", f"{torch.__version__}, {threads()}"),
        ("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("platform", platform.platform()),
        ("CPU kernels", f"{active.kernels}: {active.reason}"),
        ("instruction set", active.instruction_set or "none of ours: plain torch chooses"),
        ("instruction sets available", ", ".join(active.available) or "none without the C++ kernels"),
        ("CPU memory", _memory()),
        ("GPU", _gpu()),
        ("triton", _triton()),
        *((f"extra '{extra}'", _extra(extra)) for extra in EXTRAS),
    ]


def _memory() -> str:
    allocator = allocator_status()
    return f"{'gact allocator' if allocator.enabled else 'C library'}: {allocator.reason}"


def _gpu() -> str:
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return "none that this torch can use"
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    own = has_kernel("gact::quantize", device.type.upper())
    return f"{name}: {'kernels of its own' if own else 'plain torch kernels; the C++ ones are for the CPU'}"


def _triton() -> str:
    if find_spec("triton") is None:
        return "not installed"
    own = has_kernel("gact::quantize", "CUDA")
    return "installed" if own else "installed; gact has loaded no Triton kernels"


def _extra(extra: str) -> str:
    absent = missing(extra)
    remedy = f" - pip install {' '.join(absent)}" if absent else ""
    return versions(extra) + remedy

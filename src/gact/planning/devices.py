"""How much memory devices have for tensors.

NOTE: What is left of a device
A device of "16 GB" shows fewer bytes to programs, since error correction and the driver take their share, and the
context of CUDA and the libraries' workspaces take some hundred MiB of those. The figures are what torch reports as the
capacity of these devices, rounded down, less half a GiB.
"""

from __future__ import annotations

from typing import Any

from ..checks import check_memory

_CONTEXT_GIB = 0.5
_CAPACITY_GIB = {"T4": 14.5, "L4": 22.0, "A100": 39.3, "A100-80GB": 79.1, "H100": 79.1}
DEVICES = {name: int((capacity - _CONTEXT_GIB) * 2**30) for name, capacity in _CAPACITY_GIB.items()}


def budget_of(memory: int | str | None, device: str | None) -> int | None:
    """Bytes that a step may take.

    Args:
        memory: Bytes, or a text such as ``"8 GiB"``.
        device: A name in ``DEVICES`` instead.

    Raises:
        ValueError: If both are given, or the device is not known.
    """
    if memory is not None and device is not None:
        raise ValueError(f"pass either memory or device, got memory={memory!r} and device={device!r}.")
    if device is None:
        return check_memory(memory)
    return DEVICES[check_device(device)]


def check_device(device: Any) -> str:
    """The name of a device that is known."""
    if device not in DEVICES:
        known = ", ".join(map(repr, DEVICES))
        raise ValueError(f'device must be one of {known}, got {device!r}. Pass memory="24 GiB" for any other.')
    return str(device)

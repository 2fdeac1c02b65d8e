"""The store that a setting names."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from ..errors import GactWarning
from .base import Store
from .device import DeviceStore
from .disk import DiskStore
from .host import HostStore

_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}


def check_offload(offload: object) -> str | None:
    """The setting, if it is one.

    Raises:
        ValueError: If it is not.
    """
    if offload is None or offload in ("cpu", "disk"):
        return offload  # type: ignore[return-value]
    if isinstance(offload, str) and offload.startswith("disk:") and offload != "disk:":
        return offload
    raise ValueError(
        f"offload must be None, 'cpu', 'disk' or 'disk:' with a directory, as in 'disk:/scratch', got {offload!r}."
    )


def open_store(offload: str | None) -> Store:
    """The store that a setting names: None for the device itself, ``"cpu"``, ``"disk"`` or ``"disk:<directory>"``.

    Raises:
        ValueError: If it is another word.
        StoreError: If the directory cannot be used.
    """
    offload = check_offload(offload)
    if offload is None:
        return DeviceStore()
    if offload == "cpu":
        return HostStore()
    directory = Path(offload[5:] or tempfile.gettempdir())
    kind = file_system(directory)
    if kind in _IN_MEMORY:
        warnings.warn(
            f"offload={offload!r} saves no memory: {directory} is a {kind}, which lies in memory. Choose a directory "
            "on a disk, as in offload='disk:/scratch'.",
            GactWarning,
            stacklevel=3,
        )
    return DiskStore(directory)


def file_system(directory: Path, mounts: Path = _MOUNTS) -> str:
    """Type of the file system of a directory, "" where the system does not tell."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    here, best, kind = directory.resolve(), 0, ""
    for line in lines:
        _, place, found = line.split()[:3]
        place = place.replace("\\040", " ")
        if here.is_relative_to(place) and len(place) >= best:
            best, kind = len(place), found
    return kind

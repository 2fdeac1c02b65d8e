"""The store that a setting names."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from ..errors import GactWarning
from .base import Store
from .device import DeviceStore
from .disk import DiskStore
from .host import HostStore

_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
_OF_A_STORE = ("name", "put", "begin_step", "close")
_STORES: dict[str, Callable[[], Store]] = {}


def register_store(name: str, factory: Callable[[], Store]) -> None:
    """Adds a place for packed data, which ``offload=name`` asks for from now on.

    Args:
        name: The word; one that was registered before is replaced.
        factory: Makes a ``gact.store.Store``, once for each compressor that uses it.

    Raises:
        TypeError: If ``factory`` cannot be called; from ``Compressor``, if what it makes is no store.
        ValueError: If the word is empty or one of this package's own.

    Example:
        >>> gact.register_store("shared", lambda: SharedMemoryStore("/dev/shm"))
        >>> compressor = gact.Compressor(model, offload="shared")
    """
    if not isinstance(name, str) or not name or name.partition(":")[0] in ("cpu", "disk"):
        raise ValueError(f"register_store() got the name {name!r}; it must be a word other than 'cpu' and 'disk'")
    if not callable(factory):
        raise TypeError(f"register_store({name!r}) got {factory!r}; the factory must be a function that makes a store")
    _STORES[name] = factory


def check_offload(offload: object) -> str | None:
    """The setting, if it is one.

    Raises:
        ValueError: If it is not.
    """
    if offload is None or offload in ("cpu", "disk") or offload in _STORES:
        return offload  # type: ignore[return-value]
    if isinstance(offload, str) and offload.startswith("disk:") and offload != "disk:":
        return offload
    registered = "".join(f" or {name!r}" for name in _STORES)
    raise ValueError(
        f"offload must be None, 'cpu', 'disk' or 'disk:' with a directory, as in 'disk:/scratch'{registered}, "
        f"got {offload!r}."
    )


def open_store(offload: str | None) -> Store:
    """The store that a setting names: ``"cpu"``, ``"disk"``, ``"disk:<directory>"`` or a registered word.

    None is that of the device itself.

    Raises:
        ValueError: If it is another word.
        StoreError: If the directory cannot be used.
        TypeError: If a registered factory makes no store.
    """
    offload = check_offload(offload)
    if offload is None:
        return DeviceStore()
    if offload in _STORES:
        return _made(offload)
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


def _made(name: str) -> Store:
    """What a registered factory makes, if that is a store."""
    store = _STORES[name]()
    lacks = [each for each in _OF_A_STORE if not hasattr(store, each)]
    if lacks or isinstance(store, type):
        raise TypeError(
            f"the factory of register_store({name!r}) returned {store!r}; it must return a gact.store.Store, an object "
            f"with {', '.join(_OF_A_STORE)}" + (f"; it lacks {', '.join(lacks)}" if lacks else "")
        )
    return store


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

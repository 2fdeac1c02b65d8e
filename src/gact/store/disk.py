"""The store that writes data to a file in a directory of the user's choice, in the background."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from ..autograd.interrupts import finish
from .base import Parts
from .engine import Engine, Entry
from .errors import StoreError
from .spill import Blob

QUEUE_BYTES = 32 * 2**20
"""What may wait to be written. It is part of the peak, and more of it does not write faster: eight writes."""
PREFETCH_BYTES = 32 * 2**20
"""What may wait to be used."""


class DiskTicket:
    """Parts in the file of a ``DiskStore``.

    Attributes:
        nbytes: Bytes in the file.
    """

    __slots__ = ("_devices", "_engine", "_entry", "nbytes")

    def __init__(self, engine: Engine, entry: Entry, parts: Parts) -> None:
        self._engine = engine
        self._entry = entry
        self._devices = tuple(part.device for part in parts)
        self.nbytes = entry.blob.nbytes

    def load(self) -> Parts:
        """The parts, from memory if they are still or already there.

        Raises:
            StoreError: If reading fails.
        """
        parts = self._engine.load(self._entry)
        return tuple(part.to(device) for part, device in zip(parts, self._devices, strict=True))

    def __del__(self) -> None:
        finish(self._engine.release, self._entry)


class DiskStore:
    """Writes data to a file without a name in a directory, and reads ahead of the backward pass.

    What lies on another device goes through ordinary host memory.

    Args:
        directory: An existing directory, on a disk. The file is gone when the process ends, however it ends.
        queue_bytes: Bytes that may wait in memory to be written before ``put`` waits.
        prefetch_bytes: Bytes read back that are held until they are used.

    Raises:
        StoreError: If no file can be made there; its subclass says why.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        queue_bytes: int = QUEUE_BYTES,
        prefetch_bytes: int = PREFETCH_BYTES,
    ) -> None:
        self.directory = Path(directory)
        self.name = f"disk:{directory}"
        self._process = os.getpid()
        self._started = False
        self._engine = Engine(self.directory, queue_bytes, prefetch_bytes)

    def put(self, parts: Parts) -> DiskTicket:
        """Hands dense tensors to the writer; waits while too much is waiting to be written.

        Raises:
            StoreError: If something earlier could not be written, which is then still in memory; or after a fork.
        """
        if os.getpid() != self._process:
            raise StoreError(
                "a DiskStore cannot be used in a process that was forked after it was made. Make the compressor in the "
                "process that uses it."
            )
        if not self._started:
            weakref.finalize(self, self._engine.retire).atexit = False
            self._engine.start()
            self._started = True
        flat = tuple(part.detach().cpu().contiguous() for part in parts)
        entry = Entry(flat, Blob.of(flat))
        ticket = DiskTicket(self._engine, entry, parts)  # which is there first: what it holds is released in any case
        self._engine.put(entry)
        return ticket

    def begin_step(self) -> None:
        """Learns from the last backward pass in which order to read ahead."""
        self._engine.begin_step()

    def close(self) -> None:
        """Ends the threads and removes the file once no ticket is left; the garbage collector does the same."""
        self._engine.retire()

"""A file without a name that holds parts as blobs of whole pages, past the page cache where the system allows it.

NOTE: No name
The file is opened without a name, or loses it at once, so the system removes it with its last user: at exit, and after
a crash or a kill just as well. Nothing has to be cleaned up at the next start.

NOTE: Page cache
What is written through the page cache stays in memory, which is what the file is there to avoid, so the file is opened
for direct access: whole pages in page-aligned memory. File systems without it (tmpfs) get ordinary writes, which are
flushed and dropped from the cache.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .base import Parts
from .errors import store_error

PAGE = 4096
_ALIGNMENT = 64
_DIRECT = getattr(os, "O_DIRECT", 0)


class Piece(NamedTuple):
    """Where a part lies in its blob, and what it is.

    Attributes:
        start: First byte.
        nbytes: Bytes.
        dtype: Its dtype.
        size: Its size; parts are contiguous.
    """

    start: int
    nbytes: int
    dtype: torch.dtype
    size: torch.Size


class Blob(NamedTuple):
    """The layout of some parts as one range of bytes.

    Attributes:
        pieces: One for each part.
        nbytes: Bytes of whole pages.
    """

    pieces: tuple[Piece, ...]
    nbytes: int

    @staticmethod
    def of(parts: Parts) -> Blob:
        """The layout of contiguous parts."""
        pieces, end = [], 0
        for part in parts:
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = start + part.nbytes
            pieces.append(Piece(start, part.nbytes, part.dtype, part.size()))
        return Blob(tuple(pieces), -(-end // PAGE) * PAGE)

    def parts(self, memory: mmap.mmap) -> Parts:
        """The parts that lie in memory that was read."""
        return tuple(_part(piece, memory) for piece in self.pieces)


def _part(piece: Piece, memory: mmap.mmap) -> Tensor:
    if not piece.nbytes:
        return torch.empty(piece.size, dtype=piece.dtype)
    flat = torch.frombuffer(memory, dtype=torch.uint8, count=piece.nbytes, offset=piece.start)
    return flat.view(piece.dtype).view(piece.size)


def checksum(parts: Parts) -> int:
    """CRC-32 of the bytes of contiguous parts in host memory."""
    value = 0
    for part in parts:
        if part.nbytes:
            value = zlib.crc32((ctypes.c_char * part.nbytes).from_address(part.data_ptr()), value)
    return value


class SpillFile:
    """The file and the memory through which it is written. One thread writes; any may read.

    Args:
        directory: Where the file lies.
        staging_bytes: Bytes of one write.

    Raises:
        StoreError: If the directory cannot be written to.
    """

    def __init__(self, directory: Path, staging_bytes: int) -> None:
        self.directory = directory
        try:
            self._file = tempfile.TemporaryFile(prefix="gact-", dir=directory, buffering=0)  # noqa: SIM115 - closed by close
        except OSError as error:
            raise store_error(error, directory) from error
        self._number = self._file.fileno()
        self.direct = _make_direct(self._number)
        self._staging = mmap.mmap(-1, staging_bytes)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._staging))

    def write(self, blobs: Sequence[tuple[Blob, Parts]], offset: int) -> None:
        """Writes the parts of several blobs one after another, in large writes.

        Raises:
            OSError: As the system says.
        """
        room, used, place = len(self._staging), 0, offset
        for blob, parts in blobs:
            end = 0
            for piece, part in zip(blob.pieces, parts, strict=True):
                used += piece.start - end
                end = piece.start + piece.nbytes
                done = 0
                while done < piece.nbytes:
                    if used >= room:
                        place, used = self._flush(place, room), used - room
                    count = min(piece.nbytes - done, room - used)
                    ctypes.memmove(self._address + used, part.data_ptr() + done, count)
                    done, used = done + count, used + count
            used += blob.nbytes - end
            if used >= room:
                place, used = self._flush(place, room), used - room
        if used:
            self._flush(place, used)
        if not self.direct:
            os.fsync(self._number)
            _drop_cache(self._number, offset, sum(blob.nbytes for blob, _ in blobs))

    def _flush(self, place: int, size: int) -> int:
        """Writes that much of the staging memory; the place after it."""
        done = 0
        with memoryview(self._staging) as memory:
            while done < size:
                done += _write_at(self._number, memory[done:size], place + done)
        return place + size

    def read(self, blob: Blob, offset: int) -> Parts:
        """The parts of a blob, in fresh memory that goes back to the system when the last of them dies.

        Raises:
            OSError: As the system says.
        """
        if not blob.nbytes:
            return tuple(torch.empty(piece.size, dtype=piece.dtype) for piece in blob.pieces)
        memory, done = mmap.mmap(-1, blob.nbytes), 0
        with memoryview(memory) as view:
            while done < blob.nbytes:
                count = _read_at(self._number, view[done:], offset + done)
                if not count:
                    raise OSError(5, "the file is shorter than it was")
                done += count
        if not self.direct:
            _drop_cache(self._number, offset, blob.nbytes)
        return blob.parts(memory)

    def close(self) -> None:
        """Closes the file, which removes it."""
        self._file.close()


def _write_at(number: int, memory: memoryview, place: int) -> int:
    """One write; a name of its own so that tests can make it fail."""
    return os.pwrite(number, memory, place)


def _read_at(number: int, memory: memoryview, place: int) -> int:
    return os.preadv(number, [memory], place)


def _make_direct(number: int) -> bool:
    """Switches an open file to direct access; whether that worked for a page."""
    if not _DIRECT:
        return False
    import fcntl

    flags = fcntl.fcntl(number, fcntl.F_GETFL)
    page = mmap.mmap(-1, PAGE)
    try:
        fcntl.fcntl(number, fcntl.F_SETFL, flags | _DIRECT)
        os.pwrite(number, page, 0)
    except OSError:
        fcntl.fcntl(number, fcntl.F_SETFL, flags)
        return False
    return True


def _drop_cache(number: int, offset: int, size: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(number, offset, size, os.POSIX_FADV_DONTNEED)

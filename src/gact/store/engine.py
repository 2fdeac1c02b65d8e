"""The two threads behind a store on disk, and what they share with tickets.

NOTE: Threads
One thread writes and keeps the book of the file's ranges; one reads ahead. ``put`` hands an entry to the writer and
waits only while more than ``queue_bytes`` are waiting to be written. Until an entry is written its parts stay in memory
and serve loads; if writing fails they stay there for good, and the next ``put`` raises the named error. Tickets die
anywhere, also inside the garbage collector with any lock held, so all that dying does is to put a message into a
``SimpleQueue``, which is safe there.

NOTE: Interrupts
The lock is taken by itself, not as the condition that belongs to it: what a ``with`` of a lock does cannot be
interrupted, while a condition enters and leaves by functions in Python, and an interrupt at the first instruction of
the one that leaves would keep the lock for ever.

NOTE: The end of the process
A thread that is inside of torch while the interpreter ends is unwound by force, which aborts the process. So the
threads are halted before that. What is in memory or in the file then can still be loaded, and nothing is written any
more.
"""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from pathlib import Path

from ..forks import new_reentrant_lock
from .base import Parts
from .errors import StoreError, damaged, store_error
from .extents import Extents
from .prefetch import Order, Place, Window
from .spill import Blob, SpillFile, checksum

STAGING_BYTES = 4 * 2**20
"""Bytes of one write."""
_AHEAD = 4
"""Entries that are read ahead of the one that is asked for."""


class Entry:
    """One blob: in memory, on disk, or both.

    Attributes:
        checksum: Of what was written; damage to a file is an error and no gradient.
    """

    __slots__ = ("__weakref__", "blob", "checksum", "dead", "offset", "parts", "place", "reading")

    def __init__(self, parts: Parts, blob: Blob) -> None:
        self.parts: Parts | None = parts
        self.blob = blob
        self.checksum = 0
        self.offset: int | None = None
        self.place: Place[Entry]
        self.reading = False
        self.dead = False


class Engine:
    """Writes entries and reads them back. It outlives the store as long as tickets do.

    Args:
        directory: Where the file lies.
        queue_bytes: Bytes that may wait to be written before ``put`` waits.
        prefetch_bytes: Bytes read back that are held until they are used.
    """

    def __init__(self, directory: Path, queue_bytes: int, prefetch_bytes: int) -> None:
        self.directory = directory
        self.file = SpillFile(directory, STAGING_BYTES)
        self.order: Order[Entry] = Order()
        self._lock = new_reentrant_lock()
        self.changed = threading.Condition(self._lock)
        self.waiting = 0
        self.failure: StoreError | None = None
        self._limit: float = queue_bytes
        self._halted = False
        self._window: Window[Entry] = Window(prefetch_bytes)
        self._extents = Extents()
        self._messages: queue.SimpleQueue[tuple[Entry, bool] | None] = queue.SimpleQueue()
        self._to_read: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=run, name=f"gact-{name}", daemon=True)
            for name, run in (("writer", self._write_all), ("reader", self._read_ahead))
        ]

    def start(self) -> None:
        """Starts the threads that do not run yet."""
        with self._lock:
            for thread in self._threads:
                if not thread.is_alive():
                    thread.start()
        _started.add(self)

    def halt(self) -> None:
        """Ends the threads, whatever is left to do, and waits for them. What is in memory stays there."""
        with self._lock:
            self._halted, self._limit = True, float("inf")
            self.changed.notify_all()
        self._messages.put(None)
        self._to_read.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def begin_step(self) -> None:
        """Starts to number the entries of the next step."""
        with self._lock:
            self.order.begin()

    def put(self, entry: Entry) -> None:
        """Takes an entry; waits while too much is unwritten, and raises what went wrong with earlier ones."""
        nbytes = entry.blob.nbytes
        with self._lock:
            self.changed.wait_for(lambda: self.waiting < self._limit or self.failure is not None)
            if self.failure is not None:
                failure, self.failure = self.failure, None
                raise failure
            entry.place = self.order.add(entry)
            self.waiting += nbytes
            self._messages.put((entry, True))  # with nothing between the two at which Python looks for signals

    def release(self, entry: Entry) -> None:
        """Says that the ticket of an entry has died. Safe inside the garbage collector."""
        entry.dead = True
        entry.parts = None
        self._messages.put((entry, False))

    def retire(self) -> None:
        """Says that nothing more will come: the threads end when the last entry is released."""
        self._messages.put(None)

    def load(self, entry: Entry) -> Parts:
        """The parts of an entry; has those that are expected next read ahead."""
        with self._lock:
            expected = self.order.ask(entry.place, _AHEAD)
        for other in expected:
            if other.parts is None:
                self._to_read.put(other)
        parts = self._bring(entry)
        assert parts is not None, "an entry is asked for while its ticket lives"
        return parts

    def _bring(self, entry: Entry, ahead: bool = False) -> Parts | None:
        """The parts of an entry, read if they are not in memory; a reader ahead of time leaves what others do."""
        parts, ours = None, False
        try:
            with self._lock:
                if ahead and (entry.dead or entry.reading or entry.parts is not None):
                    return None
                self.changed.wait_for(lambda: not entry.reading)
                if entry.parts is not None:
                    return entry.parts
                entry.reading = ours = True
            assert entry.offset is not None
            read = self.file.read(entry.blob, entry.offset)
            if checksum(read) != entry.checksum:
                raise damaged(self.directory)
            parts = read
        except OSError as error:
            raise store_error(error, self.directory) from error
        finally:
            if ours:
                with self._lock:
                    entry.reading = False
                    if parts is not None and not entry.dead:
                        entry.parts = parts
                        for oldest in self._window.add(entry, entry.blob.nbytes):
                            oldest.parts = None
                    self.changed.notify_all()
        return parts

    def _read_ahead(self) -> None:
        while (entry := self._to_read.get()) is not None and not self._halted:
            try:
                self._bring(entry, ahead=True)
            except StoreError:  # whoever really needs it reads it again and hears of it
                continue

    def _write_all(self) -> None:
        """The writer: takes messages, writes what is new in large pieces, frees the ranges of what has died."""
        alive, retired, batch = set[Entry](), False, dict[Entry, None]()
        while alive or not retired:
            message = self._messages.get()
            if self._halted:
                return
            if message is None:
                retired = True
            elif message[1]:
                alive.add(message[0])
                batch[message[0]] = None
            elif message[0] in alive:  # else its ticket died before it came to be written
                alive.remove(message[0])
                self._forget(message[0], message[0] in batch)
                batch.pop(message[0], None)
            if self._messages.empty() or sum(entry.blob.nbytes for entry in batch) >= STAGING_BYTES:
                self._write(list(batch))
                batch.clear()
        self._to_read.put(None)
        self._threads[1].join()
        self.file.close()

    def _forget(self, entry: Entry, unwritten: bool) -> None:
        if entry.offset is not None:
            self._extents.give(entry.offset, entry.blob.nbytes)
        with self._lock:
            self._window.discard(entry)
            entry.parts = None
            if unwritten:
                self.waiting -= entry.blob.nbytes
                self.changed.notify_all()

    def _write(self, batch: list[Entry]) -> None:
        """Writes entries one after another and lets go of their parts; if that fails, keeps them in memory."""
        written, start, failure = self._try_to_write(batch)
        with self._lock:
            for entry in written:
                entry.offset, entry.parts = start, None
                start += entry.blob.nbytes
            self.waiting -= sum(entry.blob.nbytes for entry in batch)
            self.failure = failure or self.failure
            self.changed.notify_all()

    def _try_to_write(self, batch: list[Entry]) -> tuple[list[Entry], int, StoreError | None]:
        """The entries that are on disk now, where the first of them lies, and what went wrong.

        It is a function of its own so that nothing here holds parts when the caller says that they are gone.
        """
        alive = [(entry, parts) for entry in batch if (parts := entry.parts) is not None]
        size = sum(entry.blob.nbytes for entry, _ in alive)
        start = self._extents.take(size)
        try:
            for entry, parts in alive:
                entry.checksum = checksum(parts)
            self.file.write([(entry.blob, parts) for entry, parts in alive], start)
        except Exception as error:  # whatever it is, the thread must live on: others wait for it
            self._extents.give(start, size)
            known = error if isinstance(error, OSError) else OSError(0, repr(error))
            return [], start, store_error(known, self.directory)
        return [entry for entry, _ in alive], start, None


_started: weakref.WeakSet[Engine] = weakref.WeakSet()
"""The engines whose threads may run."""


def _halt_all() -> None:
    for engine in list(_started):
        engine.halt()


atexit.register(_halt_all)

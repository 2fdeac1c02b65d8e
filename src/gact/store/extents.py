"""Which bytes of a file are in use."""

from __future__ import annotations

from bisect import bisect_left


class Extents:
    """Hands out ranges of a file that grows only when no freed range is large enough.

    Attributes:
        end: Bytes from which on nothing was ever used.
    """

    def __init__(self) -> None:
        self.end = 0
        self._starts: list[int] = []
        self._sizes: list[int] = []

    def take(self, size: int) -> int:
        """The start of a range of that many bytes: the first that is free, or the end of the file."""
        for at, free in enumerate(self._sizes):
            if free >= size:
                start = self._starts[at]
                if free == size:
                    del self._starts[at], self._sizes[at]
                else:
                    self._starts[at] += size
                    self._sizes[at] -= size
                return start
        start = self.end
        if self._starts and self._starts[-1] + self._sizes[-1] == self.end:
            start = self._starts.pop()
            self._sizes.pop()
        self.end = start + size
        return start

    def give(self, start: int, size: int) -> None:
        """Frees a range and joins it with its free neighbours."""
        if not size:
            return
        at = bisect_left(self._starts, start)
        if at < len(self._starts) and start + size == self._starts[at]:
            size += self._sizes[at]
            del self._starts[at], self._sizes[at]
        if at and self._starts[at - 1] + self._sizes[at - 1] == start:
            self._sizes[at - 1] += size
            return
        self._starts.insert(at, start)
        self._sizes.insert(at, size)

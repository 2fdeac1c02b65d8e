"""The store that leaves everything where it is."""

from __future__ import annotations

from .base import Parts


class Held:
    """Parts that have not moved."""

    __slots__ = ("_parts",)

    nbytes = 0

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def load(self) -> Parts:
        """The parts themselves."""
        return self._parts


class DeviceStore:
    """Holds data in the memory of its own device."""

    name = "device"

    def put(self, parts: Parts) -> Held:
        """Holds the parts."""
        return Held(parts)

    def begin_step(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

"""Memory of the process as the system counts it."""

from __future__ import annotations

import mmap
from pathlib import Path

_PROCESS = Path("/proc/self")


def resident_bytes(process: Path = _PROCESS) -> int | None:
    """Bytes of this process in memory now; None where the system does not tell."""
    try:
        return int((process / "statm").read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return None


class ResidentPeak:
    """The highest resident set since the last ``reset``, as the kernel notes it.

    Attributes:
        available: Whether the kernel notes it and lets it be reset; otherwise there are no figures.
    """

    def __init__(self, process: Path = _PROCESS) -> None:
        self._process = process
        self.available = self.reset()

    def reset(self) -> bool:
        """Starts afresh; whether that is permitted."""
        try:
            (self._process / "clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def read(self) -> int | None:
        """The peak in bytes."""
        if not self.available:
            return None
        return peak_resident_bytes(self._process)


def peak_resident_bytes(process: Path = _PROCESS) -> int | None:
    """Highest resident set of this process so far, as the kernel notes it; None where it does not.

    ``getrusage`` would not do: what it gives begins with the peak of the process that started this one.
    """
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None

"""The memory of one training step as data and as text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ..text import aligned, mebibytes

_LINES = 12
HEAD = ("MiB", "tensors", "made in", "module", "operation")


@dataclass(frozen=True, slots=True)
class Sample:
    """The moment after one operation.

    Attributes:
        phase: ``"forward"``, ``"backward"`` or ``"after"`` (what follows backward: the optimizer).
        op: The operation.
        live_bytes: Bytes of all tensors alive.
        module: Path of the module that was running, in forward.
        kinds: The same bytes by what they are, in the order of ``KINDS``: alive before the step, made by gact's own
            operations in forward (codes), by others in forward, in backward, after it.
    """

    phase: str
    op: str
    live_bytes: int
    module: str = ""
    kinds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Holder:
    """Tensors of one maker that are alive at the peak.

    Attributes:
        phase: When they were made; ``"before"`` for what was there.
        module: Path of the module that was running, in forward.
        op: The operation that made them, in backward with the name of the node.
        count: Storages.
        nbytes: Their bytes.
    """

    phase: str
    module: str
    op: str
    count: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a ``MemoryProfile``, for those who show them."""

    samples: tuple[Sample, ...]
    holders: tuple[Holder, ...]
    start_bytes: int
    allocator_peak: int | None
    resident_start: int | None
    resident_peaks: dict[str, int]

    @property
    def peak_bytes(self) -> int:
        """Highest bytes of tensors alive at one time."""
        return max((sample.live_bytes for sample in self.samples), default=self.start_bytes)

    @property
    def peak(self) -> Sample | None:
        """The first moment of the peak."""
        return next((sample for sample in self.samples if sample.live_bytes == self.peak_bytes), None)

    @property
    def phase_peaks(self) -> dict[str, int]:
        """Highest bytes of tensors alive, by phase."""
        return {
            phase: max(sample.live_bytes for sample in self.samples if sample.phase == phase)
            for phase in dict.fromkeys(sample.phase for sample in self.samples)
        }

    @property
    def resident_peak(self) -> int | None:
        """Highest bytes of the process in memory during the step."""
        return max(self.resident_peaks.values(), default=None)

    def to_json(self, indent: int | None = 2) -> str:
        """All figures as JSON."""
        totals = {"peak_bytes": self.peak_bytes, "phase_peaks": self.phase_peaks, "resident_peak": self.resident_peak}
        return json.dumps({**totals, **asdict(self)}, indent=indent)


def summary(profile: Figures) -> list[str]:
    """The figures, one counter a line."""
    peak = profile.peak
    phases = ", ".join(f"{phase} {mebibytes(size)}" for phase, size in profile.phase_peaks.items())
    at = f" in {peak.phase} at {peak.op}" if peak is not None else ""
    lines = [f"live tensors: peak {mebibytes(profile.peak_bytes)} MiB{at} ({phases})"]
    if profile.allocator_peak is not None:
        lines.append(f"CUDA allocator: peak {mebibytes(profile.allocator_peak)} MiB")
    if profile.resident_peak is not None and profile.resident_start is not None:
        above = profile.resident_peak - profile.resident_start
        lines.append(
            f"process: peak {mebibytes(profile.resident_peak)} MiB resident, {mebibytes(above)} above the start"
        )
    return lines


def cells(holder: Holder) -> tuple[str, ...]:
    """The cells of a holder, under ``HEAD``."""
    return (mebibytes(holder.nbytes), str(holder.count), holder.phase, holder.module or "-", holder.op)


def table(profile: Figures) -> str:
    """The figures, and the largest holders at the peak."""
    rows: list[tuple[str, ...]] = [HEAD]
    rows += [cells(holder) for holder in profile.holders[:_LINES]]
    rest = profile.holders[_LINES:]
    if rest:
        size, count = sum(holder.nbytes for holder in rest), sum(holder.count for holder in rest)
        rows.append((mebibytes(size), str(count), "", "", f"{len(rest)} others"))
    return "\n".join([*summary(profile), "", "alive at the peak:", aligned(rows, (0, 1))])

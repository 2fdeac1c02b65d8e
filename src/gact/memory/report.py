"""The memory of one training step: live bytes over time and what was alive at the peak; as data, text and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from itertools import groupby

from ..text import aligned, html_page, html_table, mebibytes

_LINES = 12
_HEAD = ("MiB", "tensors", "made in", "module", "operation")
_WIDTH, _HEIGHT = 900, 260
_COLORS = {"forward": "#0b6e99", "backward": "#e07a1f", "after": "#2ca58d"}


@dataclass(frozen=True, slots=True)
class Sample:
    """The moment after one operation.

    Attributes:
        phase: ``"forward"``, ``"backward"`` or ``"after"`` (what follows backward: the optimizer).
        op: The operation.
        live_bytes: Bytes of all tensors alive.
    """

    phase: str
    op: str
    live_bytes: int


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
class MemoryProfile:
    """Where the memory of a step went.

    Attributes:
        samples: One for each operation, in order.
        holders: What was alive at the peak, the largest first.
        start_bytes: Bytes of tensors known at the start.
        allocator_peak: Highest bytes of torch's CUDA allocator; None without CUDA.
        resident_start: Bytes of the process in memory at the start; None where the system does not tell.
        resident_peaks: Highest bytes of the process in memory, by phase; empty where the system does not tell.
    """

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

    def to_html(self) -> str:
        """A page without scripts: memory over time as a picture, and what was alive at the peak."""
        return render({"": self})

    def __str__(self) -> str:
        return table(self)


def summary(profile: MemoryProfile) -> list[str]:
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


def _cells(holder: Holder) -> tuple[str, ...]:
    return (mebibytes(holder.nbytes), str(holder.count), holder.phase, holder.module or "-", holder.op)


def table(profile: MemoryProfile) -> str:
    """The figures, and the largest holders at the peak."""
    rows: list[tuple[str, ...]] = [_HEAD]
    rows += [_cells(holder) for holder in profile.holders[:_LINES]]
    rest = profile.holders[_LINES:]
    if rest:
        size, count = sum(holder.nbytes for holder in rest), sum(holder.count for holder in rest)
        rows.append((mebibytes(size), str(count), "", "", f"{len(rest)} others"))
    return "\n".join([*summary(profile), "", "alive at the peak:", aligned(rows, (0, 1))])


def render(profiles: Mapping[str, MemoryProfile]) -> str:
    """A complete page.

    Args:
        profiles: Profiles by their headings, which are drawn to one scale.
    """
    highest = max((profile.peak_bytes for profile in profiles.values()), default=0)
    parts = [_section(heading, profile, highest) for heading, profile in profiles.items()]
    return html_page("gact memory", "Memory of one step", "".join(parts))


def _section(heading: str, profile: MemoryProfile, highest: int) -> str:
    """One profile: its figures, its picture and what was alive at the peak."""
    lines = "<br>".join(escape(line) for line in summary(profile))
    title = f"<h2>{escape(heading)}</h2>" if heading else ""
    return (
        f"{title}<p>{lines}</p>\n{_picture(profile, max(highest, 1))}\n<h3>Alive at the peak</h3>\n"
        f"{html_table(_HEAD, [_cells(holder) for holder in profile.holders], (0, 1))}"
    )


def _picture(profile: MemoryProfile, highest: int) -> str:
    """Live bytes after each operation, one line for each phase; the height stands for ``highest`` bytes."""
    count = max(len(profile.samples) - 1, 1)
    parts, start = [], 0
    for phase, group in groupby(profile.samples, key=lambda sample: sample.phase):
        samples = list(group)
        points = " ".join(
            f"{_WIDTH * (start + at) / count:.1f},{_HEIGHT - _HEIGHT * sample.live_bytes / highest:.1f}"
            for at, sample in enumerate(samples)
        )
        color = _COLORS.get(phase, "#555555")
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{points}"/>')
        place = _WIDTH * (start + len(samples) / 2) / count
        parts.append(f'<text x="{place:.0f}" y="{_HEIGHT + 16}" fill="{color}" font-size="12">{escape(phase)}</text>')
        start += len(samples)
    return (
        f'<svg viewBox="-4 -20 {_WIDTH + 8} {_HEIGHT + 44}" width="{_WIDTH}" role="img" '
        f'aria-label="live bytes over the step"><text x="0" y="-6" font-size="12">{mebibytes(highest)} MiB</text>'
        f'<path d="M0 0V{_HEIGHT}H{_WIDTH}" fill="none" stroke="#bbbbbb"/>{"".join(parts)}</svg>'
    )

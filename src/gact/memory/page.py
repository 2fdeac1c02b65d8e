"""Memory profiles as text and as one page of HTML, without scripts or outside files."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .profile import Holder, MemoryProfile

_LINES = 12
_WIDTH, _HEIGHT = 900, 260
_COLORS = {"forward": "#0b6e99", "backward": "#e07a1f", "after": "#2ca58d"}
_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd}td.n{text-align:right}"
)


def mebibytes(size: float) -> str:
    """A size in MiB."""
    return f"{size / 2**20:.1f}"


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
    rows: list[tuple[str, ...]] = [("MiB", "tensors", "made in", "module", "operation")]
    rows += [_cells(holder) for holder in profile.holders[:_LINES]]
    rest = profile.holders[_LINES:]
    if rest:
        size, count = sum(holder.nbytes for holder in rest), sum(holder.count for holder in rest)
        rows.append((mebibytes(size), str(count), "", "", f"{len(rest)} others"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    body = [
        "  ".join(
            cell.rjust(width) if at < 2 else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*summary(profile), "", "alive at the peak:", *body])


def render(profiles: Mapping[str, MemoryProfile]) -> str:
    """A complete page.

    Args:
        profiles: Profiles by their headings, which are drawn to one scale.
    """
    highest = max((profile.peak_bytes for profile in profiles.values()), default=0)
    parts = [_section(heading, profile, highest) for heading, profile in profiles.items()]
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>gact memory</title><style>{_STYLE}</style>\n'
        f"<h1>Memory of one step</h1>\n{''.join(parts)}</html>\n"
    )


def _section(heading: str, profile: MemoryProfile, highest: int) -> str:
    """One profile: its figures, its picture and what was alive at the peak."""
    lines = "<br>".join(escape(line) for line in summary(profile))
    head = "".join(f"<th>{name}</th>" for name in ("MiB", "tensors", "made in", "module", "operation"))
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{' class=n' if at < 2 else ''}>{escape(cell)}</td>" for at, cell in enumerate(_cells(holder)))
        + "</tr>"
        for holder in profile.holders
    )
    title = f"<h2>{escape(heading)}</h2>" if heading else ""
    return (
        f"{title}<p>{lines}</p>\n{_picture(profile, max(highest, 1))}\n<h3>Alive at the peak</h3>\n"
        f"<table><tr>{head}</tr>\n{body}\n</table>\n"
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

"""The memory of one training step as parts of a page: all ways in one chart, their peaks, what was alive there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..page import Curve, Moment, chart, document, element, section, table, text
from ..text import mebibytes, sized
from .figures import HEAD, Figures, Sample, cells, summary

_LINES = 12
_NOTE = (
    "Bytes of all tensors alive after every operation; what a kernel frees before it returns is not seen. The "
    "phases of the step are drawn over each other, so the same place in two curves is about the same moment."
)


def render(profiles: Mapping[str, Figures]) -> str:
    """A complete page.

    Args:
        profiles: Profiles by the names of their ways.
    """
    sections, data = memory_sections(profiles)
    return document("Memory of one training step", [], sections, data)


def memory_sections(profiles: Mapping[str, Figures]) -> tuple[list[str], dict[str, Any]]:
    """The chart with the peaks, and what was alive at them; and the data that the chart's script reads."""
    drawn, data = chart([curve(way, one) for way, one in profiles.items()])
    lines = [
        element(
            "p", f"{text(way)}: " * (len(profiles) > 1) + "; ".join(text(line) for line in summary(one)), class_="soft"
        )
        for way, one in profiles.items()
    ]
    over = section("Memory over the step", element("p", text(_NOTE), class_="soft"), drawn, _peaks(profiles), *lines)
    return [over, section("Alive at the peak", *(_alive(way, one) for way, one in profiles.items()))], data


def curve(way: str, profile: Figures) -> Curve:
    """The samples of a profile as they are drawn."""
    return Curve(way, [_moment(each) for each in profile.samples])


def _moment(sample: Sample) -> Moment:
    what = f"{sample.op} in {sample.module}" if sample.module else sample.op
    return Moment(sample.phase, what, sample.live_bytes, sample.kinds)


def _peaks(profiles: Mapping[str, Figures]) -> str:
    phases = list(dict.fromkeys(phase for each in profiles.values() for phase in each.phase_peaks))
    resident = all(each.resident_peaks for each in profiles.values())
    rows = []
    for way, each in profiles.items():
        sizes = [mebibytes(each.phase_peaks.get(phase, 0)) for phase in phases]
        process = [mebibytes(each.resident_peak or 0)] if resident else []
        rows.append([way, *sizes, mebibytes(each.peak_bytes), *process])
    head = ["peaks, MiB", *phases, "peak", *["resident"] * resident]
    return table("Peaks of the step", head, rows, range(1, len(head)))


def _alive(way: str, profile: Figures) -> str:
    """The largest holders, folded up."""
    rows = [list(cells(holder)) for holder in profile.holders[:_LINES]]
    if rest := profile.holders[_LINES:]:
        size, count = sum(each.nbytes for each in rest), sum(each.count for each in rest)
        rows.append([mebibytes(size), str(count), "", "", f"{len(rest)} others"])
    head = element("summary", f"{text(way)}: {sized(profile.peak_bytes)}")
    return element("details", head, table(f"Alive at the peak, {way}", HEAD, rows, (0, 1)), open=True)

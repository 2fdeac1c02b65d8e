"""Memory over a step as SVG: a stack of what holds it for each way, and the outline of every way over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..text import sized
from .markup import element, text
from .scales import Curve, Phase, Point, spread, ticks

KINDS = {
    "before": "alive before the step",
    "codes": "codes",
    "forward": "made in forward",
    "backward": "made in backward",
    "after": "made after backward",
}
"""What a stack is made of, from the bottom, and its names in the legend."""

_LETTER = 6.4
"""Width of a letter of the chart, about."""
_LEFT, _RIGHT, _BOTTOM = 64, 12, 26
_LEGEND = 20


@dataclass(frozen=True, slots=True)
class _Frame:
    """Size of a picture, and where a value lies in it."""

    width: int
    height: int
    top: int
    highest: float

    @property
    def floor(self) -> int:
        return self.height - _BOTTOM

    def x(self, place: float) -> float:
        return _LEFT + place * (self.width - _LEFT - _RIGHT)

    def y(self, size: float) -> float:
        return self.floor - size / self.highest * (self.floor - self.top)


def chart(curves: Sequence[Curve]) -> tuple[str, dict[str, Any]]:
    """The chart for wide and for narrow windows with what controls it, and the data that its script reads."""
    points, phases = spread(curves)
    shown = len(curves) - 1
    drawings = [
        _drawing(curves, points, phases, width, height, shown, name)
        for width, height, name in ((960, 380, "wide"), (344, 320, "narrow"))
    ]
    choice = [
        element(
            "label",
            element("input", type="radio", name="stack", value=at, checked=at == shown),
            f" {text(curve.name)}",
        )
        for at, curve in enumerate(curves)
    ]
    chosen = element("fieldset", element("legend", "Stack of"), *choice) if len(curves) > 1 else ""
    slider = element(
        "label",
        element("span", "Moment of the step"),
        element("input", type="range", id="moment", min=0, max=1000, value=0),
        class_="moment",
    )
    exports = "".join(
        element("button", f"Save as {kind.upper()}", type="button", data_export=kind) for kind in ("svg", "png")
    )
    controls = element("div", chosen, element("div", exports, class_="exports"), class_="controls scripted")
    readout = element("div", "", id="readout")
    return (
        element("figure", controls, *drawings, element("div", slider, readout, class_="scripted"), class_="chart"),
        {"chart": _data(curves, points)},
    )


def _data(curves: Sequence[Curve], points: Sequence[Sequence[Point]]) -> dict[str, Any]:
    """What is alive at each point; names of operations once."""
    names: dict[str, int] = {}
    ways = []
    for curve, places in zip(curves, points, strict=True):
        rows = [
            [round(x, 4), m.size, names.setdefault(f"{m.phase}: {m.what}", len(names)), *m.parts] for x, m in places
        ]
        ways.append({"name": curve.name, "points": rows})
    return {"left": _LEFT, "right": _RIGHT, "kinds": list(KINDS.values()), "names": list(names), "ways": ways}


def _drawing(
    curves: Sequence[Curve],
    points: Sequence[Sequence[Point]],
    phases: Sequence[Phase],
    width: int,
    height: int,
    shown: int,
    name: str,
) -> str:
    peaks = [max(places, key=lambda point: point[1].size, default=None) for places in points]
    legend, rows = _legend(curves, points, width)
    highest = max((peak[1].size for peak in peaks if peak), default=0)
    frame = _Frame(width, height, 26 + _LEGEND * rows, max(highest, 1))
    told = "; ".join(
        f"{curve.name}: peak {sized(peak[1].size)} in {peak[1].phase}, at {peak[1].what}"
        for curve, peak in zip(curves, peaks, strict=True)
        if peak
    )
    parts = [legend, _axes(frame, phases)]
    for at, places in enumerate(points):
        parts.append(element("g", *_stack(frame, places), class_="stack", data_way=at, hidden=at != shown))
    for at, (curve, places) in enumerate(zip(curves, points, strict=True)):
        parts.append(_path(frame, [(x, m.size) for x, m in places], f"line way{_way(at)}"))
        parts.append(_peak(frame, curve.name, peaks, at))
    parts.append(element("path", class_="cursor", d=f"M0 {frame.top}V{frame.floor}", visibility="hidden"))
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        class_=name,
        role="img",
        aria_label=f"Bytes of live tensors over one training step. {told}",
    )


def _way(at: int) -> int:
    return min(at, 2)


def _path(frame: _Frame, line: Sequence[tuple[float, float]], name: str) -> str:
    drawn = "L".join(f"{frame.x(x):.1f} {frame.y(size):.1f}" for x, size in line)
    return element("path", d=f"M{drawn}", class_=name) if line else ""


def _stack(frame: _Frame, places: Sequence[Point]) -> list[str]:
    """A filled band for each kind that has bytes at any time."""
    found, base = [], [0.0] * len(places)
    if not all(moment.parts for _, moment in places):
        return []
    for at, kind in enumerate(KINDS):
        tops = [low + moment.parts[at] for low, (_, moment) in zip(base, places, strict=True)]
        if tops != base:
            over = [(x, top) for (x, _), top in zip(places, tops, strict=True)]
            under = [(x, low) for (x, _), low in zip(places, base, strict=True)][::-1]
            found.append(_path(frame, [*over, *under], f"kind {kind}"))
        base = tops
    return found


def _axes(frame: _Frame, phases: Sequence[Phase]) -> str:
    parts = []
    right = frame.width - _RIGHT
    for value, label in ticks(frame.highest):
        y = frame.y(value)
        parts.append(element("path", d=f"M{_LEFT} {y:.1f}H{right}", class_="rule"))
        parts.append(element("text", label, x=_LEFT - 8, y=f"{y + 4:.1f}", text_anchor="end"))
    for start, end, name in phases:
        first, last = frame.x(start), frame.x(end)
        parts.append(element("path", d=f"M{last:.1f} {frame.top}V{frame.floor}", class_="rule"))
        if _LETTER * len(name) < last - first:
            middle = f"{(first + last) / 2:.1f}"
            parts.append(element("text", text(name), x=middle, y=frame.floor + 18, text_anchor="middle"))
    return element("g", *parts, class_="axes")


def _peak(frame: _Frame, name: str, peaks: Sequence[Point | None], at: int) -> str:
    """A dot and its label, which stays inside the picture and off the labels before it."""
    peak = peaks[at]
    if peak is None:
        return ""
    x, y = frame.x(peak[0]), frame.y(peak[1].size)
    label = f"{name}: {sized(peak[1].size)}"
    half = _LETTER * len(label) / 2 + 4
    middle = min(max(x, _LEFT + half), frame.width - half)
    close = sum(each is not None and abs(frame.y(each[1].size) - y) < 20 for each in peaks[:at])
    below = 4 + 16 * close if close else -9
    return element(
        "g",
        element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, class_=f"dot way{_way(at)}"),
        element("text", text(label), x=f"{middle:.1f}", y=f"{y + below:.1f}", text_anchor="middle"),
        class_="peak",
    )


def _legend(curves: Sequence[Curve], points: Sequence[Sequence[Point]], width: int) -> tuple[str, int]:
    """The names of lines and of kinds that have bytes, in as many rows as they take."""
    moments = [moment for places in points for _, moment in places if moment.parts]
    entries = [(f"line way{_way(at)}", curve.name, "M{x} {y}h14") for at, curve in enumerate(curves)]
    entries += [
        (f"kind {kind}", name, "M{x} {y}m0 -5h14v10h-14z")
        for at, (kind, name) in enumerate(KINDS.items())
        if any(moment.parts[at] for moment in moments)
    ]
    parts, x, row = [], 4.0, 0
    for style, name, drawn in entries:
        extent = 34 + _LETTER * len(name)
        if x > 4 and x + extent > width:
            x, row = 4.0, row + 1
        y = 10 + _LEGEND * row
        parts.append(element("path", d=drawn.format(x=round(x, 1), y=y), class_=style))
        parts.append(element("text", text(name), x=round(x + 20, 1), y=y + 4))
        x += extent
    return element("g", *parts, class_="legend"), row + 1

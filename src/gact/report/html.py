"""The report as one page of HTML, and as a part of a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from ..memory import MemoryProfile
from ..memory.pages import memory_sections
from ..page import Cell, Part, cards, document, element, grid, legend, section, table, text, tree
from ..text import html_table, mebibytes, sized
from .rows import Figures, Row
from .table import NOTHING, PARAMETERS, code_name, kinds, parameters, percent, summary, totals

_MOST = 5_000
"""Rows on a page: with more, it would no longer be small."""
_WIDEST = 9
"""Integers of more bits than codes of values have are of one colour."""
_NO_PROFILE = (
    "Not measured here: what is kept for backward is one part of a step's memory. To see the whole step, plain "
    "and compressed, in this page:"
)


def render(report: Figures, profiles: Mapping[str, MemoryProfile] | None = None, title: str = "") -> str:
    """A complete page.

    Args:
        report: The figures.
        profiles: Memory of a step by way, plain training first, to be drawn.
        title: Of the page.
    """
    profiles = profiles or {}
    parts = [Part(row.module, _kind(row), row.plain_bytes, row.kept_bytes + row.offloaded_bytes) for row in report.rows]
    codes = _codes(report)
    told = totals(report) if report.rows else NOTHING
    over, data = memory_sections(profiles) if profiles else ([_no_profile()], {})
    found = [
        cards(_figures(report, profiles)),
        section("Advice", _advice(report)) if report.advice else "",
        element("p", "<br>".join(text(line) for line in told.splitlines()), class_="soft"),
        *over[:1],
    ]
    if report.rows:
        name = report.model.partition(",")[0] or "(model)"
        note = "Upper bar: plain autograd; lower bar: gact. Bars of one group are drawn to one scale."
        drawn = (element("p", text(note), class_="soft"), legend(parts, codes), tree(parts, codes, name))
        found += [section("Modules", *drawn), section("Saved tensors", _rows(report))]
    if report.parameters:
        found.append(section("Noisiest parameters", table(PARAMETERS[0], PARAMETERS, parameters(report), (1, 2))))
    return document(title or "gact report", [report.model], [*found, *over[1:]], data)


def _figures(report: Figures, profiles: Mapping[str, MemoryProfile]) -> list[tuple[str, str, str]]:
    moved = f"and {sized(report.offloaded_bytes)} offloaded" if report.offloaded_bytes else ""
    found = [
        ("kept, plain", sized(report.plain_bytes), ""),
        ("kept, gact", sized(report.kept_bytes), moved),
        ("ratio", f"{report.ratio:.2f}x", "smaller"),
        ("coverage", f"{report.coverage:.1f} %", "of the bytes"),
    ]
    first = next(iter(profiles.values()), None)
    for way, each in profiles.items():
        told = f"of a step; {first.peak_bytes / each.peak_bytes:.2f}x smaller" if first and each.peak_bytes else ""
        found.append((f"peak, {way}", sized(each.peak_bytes), "of a step" if each is first else told))
    if report.noise is not None:
        share = "" if report.noise_ratio is None else f"{report.noise_ratio:.2g} of the batches' own"
        found.append(("gradient noise", f"{report.noise:.1e}", share))
    return found


def _advice(report: Figures) -> str:
    found = [element("li", element("strong", text(code)), text(f"{told} {cure}")) for code, told, cure in report.advice]
    return element("ul", *found, class_="advice")


def _no_profile() -> str:
    command = element("code", "gact profile --html report.html train.py --your-own-arguments")
    return section("Memory over the step", element("p", text(_NO_PROFILE)), element("p", command))


def _kind(row: Row) -> str:
    """What a row's bytes are held as, in the words of the legend."""
    if row.codec in ("keep", "derived"):
        return "exact" if row.codec == "keep" else "made again"
    return f"{row.bits} bit{'s' * (row.bits != 1)}" if row.bits else code_name(row)


def _codes(report: Figures) -> dict[str, str]:
    """The kinds that occur with the class of their colour, the narrowest first and what is exact last."""
    coded = sorted((row.bits, _kind(row)) for row in report.rows if row.codec not in ("keep", "derived"))
    styles = {kind: f"b{min(bits, _WIDEST)}" if bits else "other" for bits, kind in coded}
    return {"made again": "b0", **styles, "exact": "keep"}


def _rows(report: Figures) -> str:
    """Every row, most kept first."""
    measured, moved = report.noise is not None, bool(report.offloaded_bytes)
    head = ["module", "op[slot]", "code", "saves", "duplicates", "plain MiB", "kept MiB"]
    head += ["offloaded MiB"] * moved + ["noise %"] * measured
    order = sorted(report.rows, key=lambda row: (-row.kept_bytes - row.offloaded_bytes, -row.plain_bytes))
    shown = [_cells(row, moved, measured) for row in order[:_MOST]]
    present = list(dict.fromkeys(code_name(row).partition(":")[0].partition(",")[0] for row in report.rows))
    drawn = grid("Saved tensors", head, shown, range(3, len(head)), (3, 4), sorted(present))
    if rest := order[_MOST:]:
        size = sum(row.kept_bytes for row in rest)
        drawn += element("p", f"and {len(rest)} smaller rows, {sized(size)} kept; report.to_json() has them.")
    return drawn


def _cells(row: Row, moved: bool, measured: bool) -> list[Cell]:
    site = f"{row.op}{f'#{row.call}' if row.call else ''}[{row.slot}]"
    sizes = [row.plain_bytes, row.kept_bytes, *[row.offloaded_bytes] * moved]
    counts = [Cell(str(each), each) for each in (row.count, row.duplicates)]
    shares = [Cell(percent(row.noise_share), row.noise_share or 0.0)] if measured else []
    names = [Cell(row.module or "(model)"), Cell(site), Cell(code_name(row))]
    return [*names, *counts, *(Cell(mebibytes(size), size) for size in sizes), *shares]


def notebook(report: Figures) -> str:
    """The kinds of sites as a part of a page, which a notebook shows instead of the text."""
    if not report.rows:
        return f"<p>{escape(NOTHING)}</p>"
    head, body = kinds(report)
    told = escape(summary(report)).replace("\n", "<br>")
    return f"<p>{told}</p>\n{html_table(head, body, range(3, len(head)))}"

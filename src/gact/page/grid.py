"""Figures in cards and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .markup import breakable, element, text


class Cell(NamedTuple):
    """A figure as it is shown, and what it is sorted by where that is more exact."""

    shown: str
    value: float | None = None


def cards(figures: Sequence[tuple[str, str, str]]) -> str:
    """The figures to be seen first.

    Args:
        figures: Name, figure, and a word on it.
    """
    found = [
        element(
            "div", element("dt", text(name)), element("dd", text(figure), element("small", text(word)), class_="figure")
        )
        for name, figure, word in figures
    ]
    return element("dl", *found, class_="cards")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """A table to be read.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: The cells.
        numbers: Columns that stand on the right.
    """

    def row(tag: str, cells: Sequence[str], **attributes: str) -> str:
        sides = ["n" if at in numbers else None for at in range(len(cells))]
        found = (
            element(tag, breakable(each), class_=side, **attributes) for each, side in zip(cells, sides, strict=True)
        )
        return element("tr", *found)

    named = row("th", head, scope="col")
    body = [row("td", each) for each in rows]
    inside = element("table", element("thead", named), element("tbody", *body))
    return _scrolled(caption, inside)


def grid(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    numbers: Sequence[int],
    minor: Sequence[int],
    choices: Sequence[str],
) -> str:
    """A table that the script sorts by a click on a name, and filters.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: The cells.
        numbers: Columns that stand on the right.
        minor: Columns that narrow windows leave out.
        choices: Beginnings of the texts in the column "code", to choose from.
    """

    def style(at: int) -> str | None:
        return " ".join([*["n"] * (at in numbers), *["minor"] * (at in minor)]) or None

    def cell(at: int, each: Cell) -> str:
        return element("td", breakable(each.shown), class_=style(at), data_v=each.value)

    named = [
        element("th", element("button", text(each), type="button"), scope="col", class_=style(at))
        for at, each in enumerate(head)
    ]
    body = [element("tr", *(cell(at, each) for at, each in enumerate(row))) for row in rows]
    options = [element("option", text(each), value=each) for each in ("", *choices)]
    options[0] = element("option", "any code", value="")
    search = element("label", "Filter ", element("input", type="search", id="filter", autocomplete="off"))
    select = element("label", "Code ", element("select", *options, id="code", data_column=_code(head)))
    count = element("span", f"{len(rows)} rows", id="count", role="status")
    bar = element("div", search, select, count, class_="controls scripted")
    inside = element("table", element("thead", element("tr", *named)), element("tbody", *body), id="grid")
    return bar + _scrolled(caption, inside)


def _code(head: Sequence[str]) -> int:
    return list(head).index("code")


def _scrolled(caption: str, inside: str) -> str:
    """A table that scrolls by itself where it is wider than the window, by keyboard too."""
    return element("div", inside, class_="scroll", role="region", aria_label=f"Table: {caption}", tabindex=0)

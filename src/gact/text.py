"""Text that people read: sizes, columns and pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd}td.n{text-align:right}"
)


def mebibytes(size: float) -> str:
    """Bytes in MiB, with three figures or so."""
    size /= 2**20
    return f"{size:.0f}" if size >= 100 else f"{size:.1f}" if size >= 10 else f"{size:.2f}"


def printable(text: str) -> str:
    """A text whose control characters are escaped, since the names of modules may come from anywhere."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int], rule: bool = False) -> str:
    """Rows of cells as lines of columns that are padded to equal width; control characters in them are written out.

    Args:
        rows: The head, and all other rows.
        numbers: Columns that are padded on the left.
        rule: Whether a line of dashes follows the head.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    sides = [">" if at in numbers else "<" for at in range(len(widths))]
    cells = [*rows[:1], *([["-" * width for width in widths]] if rule else []), *rows[1:]]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in cells
    )


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """A table of HTML; cells are escaped.

    Args:
        head: Names of the columns.
        rows: The cells.
        numbers: Columns that stand on the right.
    """
    lines = ["".join(f"<th>{escape(name)}</th>" for name in head)]
    for row in rows:
        lines.append(
            "".join(f"<td{' class=n' if at in numbers else ''}>{escape(cell)}</td>" for at, cell in enumerate(row))
        )
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>\n"


def html_page(title: str, heading: str, body: str) -> str:
    """A page without scripts or outside files.

    Args:
        title: Of the window.
        heading: Of the page.
        body: HTML.
    """
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>\n<h1>{escape(heading)}</h1>\n{body}</html>\n"
    )

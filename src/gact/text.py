"""Text that people read: sizes, columns, tables, the version."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import metadata


def version() -> str:
    """The version that is installed."""
    try:
        return metadata.version("gact")
    except metadata.PackageNotFoundError:  # a source tree on the path
        return "0+unknown"


def mebibytes(size: float) -> str:
    """Bytes in MiB, with three figures or so."""
    size /= 2**20
    return f"{size:.0f}" if size >= 100 else f"{size:.1f}" if size >= 10 else f"{size:.2f}"


def sized(size: float) -> str:
    """Bytes in the unit that fits, with three figures or so."""
    units = ["TiB", "GiB", "MiB", "KiB", "B"]
    unit = units.pop()
    while size >= 999.5 and units:
        size, unit = size / 1024, units.pop()
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.3g} {unit}"


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
    lines = ["".join(f"<th>{escape(printable(name))}</th>" for name in head)]
    for row in rows:
        lines.append(
            "".join(
                f"<td{' class=n' if at in numbers else ''}>{escape(printable(cell))}</td>"
                for at, cell in enumerate(row)
            )
        )
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>\n"

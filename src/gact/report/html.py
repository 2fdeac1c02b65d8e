"""The report as one page of HTML."""

from __future__ import annotations

from html import escape

from ..text import html_page, html_table, mebibytes
from .rows import Figures, Row
from .table import NOTHING, PARAMETERS, code_name, kinds, parameters, percent, summary


def render(report: Figures) -> str:
    """A complete page: the totals, then every site."""
    measured = report.noise is not None
    names = ["site", "code", "saves", "duplicates", "plain MiB", "kept MiB", *["noise %"] * measured]
    totals = escape(summary(report)).replace("\n", "<br>")
    table = html_table(names, [_cells(row, measured) for row in report.rows], range(2, len(names)))
    if report.parameters:
        table += html_table(PARAMETERS, parameters(report), (1, 2))
    return html_page("gact report", "gact report", f"<p>{totals}</p>\n{table}")


def notebook(report: Figures) -> str:
    """The kinds of sites as a part of a page, which a notebook shows instead of the text."""
    if not report.rows:
        return f"<p>{escape(NOTHING)}</p>"
    head, body = kinds(report)
    totals = escape(summary(report)).replace("\n", "<br>")
    return f"<p>{totals}</p>\n{html_table(head, body, range(3, len(head)))}"


def _cells(row: Row, measured: bool) -> list[str]:
    site = f"{row.module or '(model)'}: {row.op}{f'#{row.call}' if row.call else ''}[{row.slot}]"
    sizes = [mebibytes(row.plain_bytes), mebibytes(row.kept_bytes)]
    shares = [percent(row.noise_share)] if measured else []
    return [site, code_name(row), str(row.count), str(row.duplicates), *sizes, *shares]

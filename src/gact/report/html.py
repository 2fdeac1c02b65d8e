"""The report as one page of HTML, without scripts or outside files."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .table import code_name, mebibytes, percent, summary

if TYPE_CHECKING:
    from .report import Report, Row

_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd}td.n{text-align:right}"
)


def render(report: Report) -> str:
    """A complete page: the totals, then every site."""
    measured = report.noise is not None
    names = ["site", "code", "saves", "merged", "plain MiB", "kept MiB", *["noise %"] * measured]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "\n".join(_row(row, measured) for row in report.rows)
    totals = escape(summary(report)).replace("\n", "<br>")
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>gact report</title><style>{_STYLE}</style>\n'
        f"<h1>gact report</h1><p>{totals}</p>\n<table><tr>{head}</tr>\n{body}\n</table></html>\n"
    )


def _row(row: Row, measured: bool) -> str:
    site = f"{row.module or '(model)'}: {row.op}{f'#{row.call}' if row.call else ''}[{row.slot}]"
    figures = [str(row.count), str(row.merged), mebibytes(row.plain_bytes), mebibytes(row.kept_bytes)]
    if measured:
        figures.append(percent(row.noise_share))
    numbers = "".join(f'<td class="n">{figure}</td>' for figure in figures)
    return f"<tr><td>{escape(site)}</td><td>{escape(code_name(row))}</td>{numbers}</tr>"

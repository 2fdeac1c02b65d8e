"""What a step saved, as data, as a table and as a page."""

from .report import Report, Row, build_report

__all__ = ["Report", "Row", "build_report"]

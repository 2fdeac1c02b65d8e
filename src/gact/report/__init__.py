"""What a step saved, as data, as a table and as a page."""

from .report import Report, build_report
from .rows import Row

__all__ = ["Report", "Row", "build_report"]

"""The figures of a step for dashboards and progress bars."""

from __future__ import annotations

from ..text import mebibytes
from .rows import Figures

_GIB = 2**30


def metrics(report: Figures) -> dict[str, float]:
    """The figures by name, as loggers take them; what is not known is left out.

    Args:
        report: The report of a step.

    Returns:
        ``gact/kept_gib``, ``gact/ratio``, ``gact/coverage`` in percent, ``gact/bits`` (average width of the codes, by
        bytes), and once measured ``gact/noise`` and ``gact/noise_ratio``. Empty before the first step.
    """
    if not report.rows:
        return {}
    found = {
        "gact/kept_gib": (report.kept_bytes + report.offloaded_bytes) / _GIB,
        "gact/ratio": report.ratio,
        "gact/coverage": report.coverage,
        "gact/bits": average_bits(report),
        "gact/noise": report.noise,
        "gact/noise_ratio": report.noise_ratio,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def status(report: Figures) -> str:
    """The same in one line."""
    if not report.rows:
        return "gact: nothing saved yet"
    told = f"gact {mebibytes(report.kept_bytes)} of {mebibytes(report.plain_bytes)} MiB ({report.ratio:.1f}x)"
    bits = average_bits(report)
    told += "" if bits is None else f", {bits:.1f} bits"
    return told + ("" if report.noise is None else f", noise {report.noise:.0e}")


def average_bits(report: Figures) -> float | None:
    """Average width of the codes of values, weighted by the bytes that they stand for; None if there are none."""
    rows = [row for row in report.rows if row.codec == "groups" and row.plain_bytes]
    total = sum(row.plain_bytes for row in rows)
    return sum(row.bits * row.plain_bytes for row in rows) / total if total else None

"""The report as a table to be read in ten seconds: alike sites in one line, the largest first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from textwrap import fill

from ..text import aligned, mebibytes
from .rows import Figures, Row

_LINES = 16
_WIDEST = 44
_FILLED = 110
_NAMES = 3


@dataclass(slots=True)
class Line:
    """Rows of the same kind added up: equal but for the numbers in their module paths, and for their slots."""

    module: str
    op: str
    code: str
    single: str = ""
    slots: set[int] = field(default_factory=set)
    sites: int = 0
    count: int = 0
    duplicates: int = 0
    plain_bytes: int = 0
    kept_bytes: int = 0
    offloaded_bytes: int = 0
    noise_share: float | None = None

    @property
    def site(self) -> str:
        """The op with its slots."""
        return f"{self.op}[{','.join(map(str, sorted(self.slots)))}]" if self.slots else self.op

    def add(self, row: Row) -> None:
        """Adds one row's figures."""
        self.single = row.module if self.single == row.module or not self.sites else ""
        self.slots.add(row.slot)
        self.sites += 1
        self.count += row.count
        self.duplicates += row.duplicates
        self.plain_bytes += row.plain_bytes
        self.kept_bytes += row.kept_bytes
        self.offloaded_bytes += row.offloaded_bytes
        if row.noise_share is not None:
            self.noise_share = (self.noise_share or 0.0) + row.noise_share


def code_name(row: Row) -> str:
    """What was done with a row's tensors, in a word or two."""
    if row.codec == "groups":
        return f"{row.bits} bits"
    if row.codec == "keep":
        return f"kept: {row.reason}"
    if row.codec == "sparse":
        return "sparse, exact"
    return f"{row.codec}, {row.bits} bit{'s' * (row.bits > 1)}" if row.bits else row.codec


def lines(rows: Iterable[Row], merged: bool = True) -> list[Line]:
    """Rows gathered into lines, most held bytes first.

    Args:
        rows: The rows.
        merged: Whether slots of one op that are treated alike share a line.
    """
    gathered: dict[tuple[str, str, str, int], Line] = {}
    for row in rows:
        module = re.sub(r"\d+", "*", row.module) or "(model)"
        kind = (module, row.op, code_name(row))
        gathered.setdefault((*kind, -1 if merged else row.slot), Line(*kind)).add(row)
    return sorted(gathered.values(), key=lambda line: (-line.kept_bytes - line.offloaded_bytes, -line.plain_bytes))


def percent(share: float | None) -> str:
    """A share in percent, empty if there is none."""
    return "" if share is None else f"{100 * share:.1f}"


def summary(report: Figures) -> str:
    """Advice on top, then the totals."""
    told = "".join(f"{fill(f'{code}: {text} {remedy}', _FILLED)}\n" for code, text, remedy in report.advice)
    return told + totals(report)


def totals(report: Figures) -> str:
    """The totals in two lines, what measurements told in a third, and why there are none."""
    moved = f" and {mebibytes(report.offloaded_bytes)} MiB offloaded" if report.offloaded_bytes else ""
    sites = {(row.module, row.op, row.call, row.slot) for row in report.rows}
    told = (
        f"saved for backward: {mebibytes(report.plain_bytes)} MiB by plain autograd, "
        f"{mebibytes(report.kept_bytes)} MiB by gact{moved}: {report.ratio:.2f}x smaller\n"
        f"coverage {report.coverage:.1f} % of the bytes; {sum(row.count for row in report.rows)} saves at "
        f"{len(sites)} sites, {sum(row.duplicates for row in report.rows)} of them duplicates; "
        f"{report.parameter_saves} saves of parameters not counted"
    )
    if report.measured:
        told += "\nsensitivities were measured in this step, so its codes have more bits than those of other steps"
    if report.noise is not None:
        told += f"\n{_noise(report)}"
    told += "".join(_unlisted(name, size) for name, size in list(report.unlisted.items())[:_NAMES] if size)
    if report.unmeasured:
        told += f"\nsensitivities are not measured, widths stay as they are: {report.unmeasured}"
    return told


def _unlisted(name: str, size: int) -> str:
    """What is exact because nothing tells about its node, and what to write if the user knows."""
    return (
        f"\n{mebibytes(size)} MiB are exact because nothing tells what {name} reads; where it is linear in what it "
        f'saved: gact.register_need("{name}", "value")'
    )


def _noise(report: Figures) -> str:
    """The noise meter in a line."""
    told = f"gradient noise {report.noise:.1e} predicted"
    if report.batch_variance:
        told += f", {report.noise_ratio:.2g} of the variance from batch to batch ({report.batch_variance:.1e})"
    told += f"; {report.passes} backward passes spent on measuring"
    return told + ("; OVER BUDGET: widths take more than was asked for" if report.over_budget else "")


NOTHING = "saved for backward: nothing yet. Run forward inside the compressor's context."


def render(report: Figures) -> str:
    """The totals and a table of the largest kinds of sites."""
    if not report.rows:
        return NOTHING
    head, body = kinds(report)
    largest = aligned([head, *body], range(3, len(head)), rule=True)
    worst = [aligned([PARAMETERS, *parameters(report)], (1, 2), rule=True)] if report.parameters else []
    return "\n\n".join([summary(report), largest, *worst])


def kinds(report: Figures) -> tuple[list[str], list[list[str]]]:
    """Names of columns, and the cells of the largest kinds of sites, the others together in the last row."""
    gathered = lines(report.rows)
    head = ["module", "op[slot]", "code", "sites", "saves", "duplicates", "plain MiB", "kept MiB", "noise %"]
    body = [_cells(line) for line in gathered[:_LINES]]
    rest = gathered[_LINES:]
    if rest:
        other = Line(f"... {len(rest)} smaller kinds", "", "")
        for line in rest:
            other.sites += line.sites
            other.count += line.count
            other.duplicates += line.duplicates
            other.plain_bytes += line.plain_bytes
            other.kept_bytes += line.kept_bytes
            if line.noise_share is not None:
                other.noise_share = (other.noise_share or 0.0) + line.noise_share
        body.append(_cells(other))
    columns = len(head) - (report.noise is None)
    return head[:columns], [cells[:columns] for cells in body]


def compare(first: Figures, second: Figures) -> str:
    """Kept bytes of two steps, kind of site by kind of site, the greatest differences first."""
    sizes: dict[tuple[str, str], list[int]] = {}
    codes: dict[tuple[str, str], list[list[str]]] = {}
    for at, report in enumerate((first, second)):
        for line in lines(report.rows, merged=False):
            key = (line.module, line.site)
            sizes.setdefault(key, [0, 0])[at] += line.kept_bytes
            codes.setdefault(key, [[], []])[at].append(line.code)
    order = sorted(sizes, key=lambda key: -abs(sizes[key][1] - sizes[key][0]))
    rows = [
        (_shortened(key[0]), key[1], *(" + ".join(each) or "-" for each in codes[key]), *_differing(*sizes[key]))
        for key in order[:_LINES]
    ]
    if rest := order[_LINES:]:
        both = _differing(*(sum(sizes[key][at] for key in rest) for at in range(2)))
        rows.append((f"... {len(rest)} other kinds", "", "", "", *both))
    rows.append(("all", "", "", "", *_differing(first.kept_bytes, second.kept_bytes)))
    head = ("module", "op[slot]", "code", "other's code", "kept MiB", "other's MiB", "more MiB")
    return aligned([head, *rows], (4, 5, 6), rule=True)


def _differing(first: int, second: int) -> tuple[str, str, str]:
    more = mebibytes(abs(second - first))
    return mebibytes(first), mebibytes(second), f"{'-' if second < first else '+'}{more}"


def _shortened(name: str) -> str:
    """The end of a path that is too long."""
    return name if len(name) <= _WIDEST else "..." + name[3 - _WIDEST :]


PARAMETERS = ("noisiest parameters", "own noise", "gradient %")


def parameters(report: Figures) -> list[list[str]]:
    """A row of cells for each of the noisiest parameters."""
    return [[name, f"{noise:.1e}", f"{100 * share:.2g}"] for name, noise, share in report.parameters]


def _cells(line: Line) -> list[str]:
    module = _shortened(line.single or line.module)
    counts = [str(line.sites), str(line.count), str(line.duplicates)]
    sizes = [mebibytes(line.plain_bytes), mebibytes(line.kept_bytes)]
    return [module, line.site, line.code, *counts, *sizes, percent(line.noise_share)]

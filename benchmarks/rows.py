"""Rows of the results: what a case measures, where it was measured, and the CSV file they are appended to."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import gact
from gact.ops import status

ROOT = Path(__file__).parents[1]
COLUMNS = (
    *("case", "way", "metric", "p20", "p50", "p80", "config"),
    *("machine", "versions", "commit", "command", "date"),
)
ENVIRONMENT = ("GACT_ALLOCATOR", "GACT_CPU", "OMP_NUM_THREADS")
"""Variables that change what is measured; set ones stand before the command in its column."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Quantiles of repeated measurements: 20 %, 50 % and 80 %."""

    p20: float
    p50: float
    p80: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The quantiles of some values, interpolated.

        Args:
            values: At least one.

        Raises:
            ValueError: If there is none.
        """
        ordered = sorted(values)
        if not ordered:
            raise ValueError("values must not be empty: the case has measured nothing.")
        return cls(*(_quantile(ordered, share) for share in (0.2, 0.5, 0.8)))

    @classmethod
    def exact(cls, value: float) -> Spread:
        """A figure without spread."""
        return cls(value, value, value)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a case.

    Attributes:
        way: What was measured: ``quantize``, ``bitsandbytes 8``.
        metric: Of what, with its unit: ``ratio_to_copy``, ``us``, ``kept_mib``.
        spread: The figure.
        config: Sizes and settings, JSON values.
        part: Of the case, for rows that go to a file of their own, ``<case>_<part>.csv``.
    """

    way: str
    metric: str
    spread: Spread
    config: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""

    def __str__(self) -> str:
        low, middle, high = (f"{value:.4g}" for value in (self.spread.p20, self.spread.p50, self.spread.p80))
        spread = "" if low == high else f" ({low} to {high})"
        settings = " ".join(f"{name}={value}" for name, value in self.config.items())
        return f"{self.way:36} {self.metric:28} {middle:>10}{spread:24} {settings}"


class Writer:
    """Appends rows to ``<folder>/<case>.csv`` (``<case>_<part>.csv`` for a part of a case), one line each as they come.

    Args:
        folder: Where the files are; made if it is missing.
        arguments: Command line arguments of the run, for the command column.

    Raises:
        ValueError: If an existing file has other columns.
    """

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self._folder = folder
        self._same = {
            "machine": json.dumps(machine()),
            "versions": json.dumps(versions()),
            "commit": commit(),
            "command": command(arguments),
        }

    def append(self, case: str, row: Row) -> None:
        """Write one row."""
        path = self._folder / f"{case}{f'_{row.part}' if row.part else ''}.csv"
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        if not fresh:
            _check_columns(path)
        figures = {name: f"{getattr(row.spread, name):.6g}" for name in ("p20", "p50", "p80")}
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        values = {"case": case, "way": row.way, "metric": row.metric, "config": json.dumps(dict(row.config))}
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow({**values, **figures, **self._same, "date": date})


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a file, of those that measure the same the last one: a file holds the rows of many runs.

    Args:
        path: File that a ``Writer`` has written.
    """
    _check_columns(path)
    with path.open(newline="") as file:
        last = {(row["way"], row["metric"], row["config"], row["machine"]): row for row in csv.DictReader(file)}
    return list(last.values())


def machine() -> dict[str, Any]:
    """Model and cores of the CPU, threads of torch, and the instruction set of our kernels."""
    kernels = status()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instruction_set": kernels.instruction_set or kernels.kernels,
    }


def versions() -> dict[str, str]:
    """Versions of python, torch and gact."""
    return {"python": platform.python_version(), "torch": torch.__version__, "gact": gact.__version__}


def commit() -> str:
    """Short hash of the checkout, with ``+dirty`` if anything but results was changed; "unknown" outside of git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+dirty" if changed else head


def command(arguments: Sequence[str]) -> str:
    """The command that repeats the run, without the folder of its results."""
    kept, skip = [], False
    for argument in arguments:
        if not (skip or argument.startswith("--output")):
            kept.append(argument)
        skip = argument == "--output"
    variables = [f"{name}={os.environ[name]}" for name in ENVIRONMENT if os.environ.get(name)]
    return " ".join([*variables, "python benchmarks/run.py", *kept])


def _git(*arguments: str) -> str:
    call = ("git", "-C", str(ROOT), *arguments)
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()


def _cpu_model() -> str:
    """Name, family and model, since a virtual machine's name tells little; without ``/proc`` what Python knows."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name: match[1] for name in ("model name", "cpu family", "model") if (match := _fact(name, text))}
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    return f"{facts['model name']} (family {facts.get('cpu family', '?')}, model {facts.get('model', '?')})"


def _fact(name: str, text: str) -> re.Match[str] | None:
    return re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def _check_columns(path: Path) -> None:
    with path.open(newline="") as file:
        found = next(csv.reader(file), [])
    if tuple(found) != COLUMNS:
        raise ValueError(
            f"{path.name} must have the columns {', '.join(COLUMNS)}, got {', '.join(found)}. "
            "Move the old file away or write to another folder with --output."
        )

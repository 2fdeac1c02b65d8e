"""Runs the tests over releases of torch and Python, each in an environment of its own outside the repository.

    python benchmarks/matrix.py                                     # all of RELEASES whose Python is found
    python benchmarks/matrix.py 2.14.1/3.11 2.10.0/3.11 --tests tests/operators tests/store
    python benchmarks/matrix.py --python 3.13=/opt/python3.13/bin/python3 --keep

Of each release it appends how many tests passed, were skipped and failed to ``benchmarks/results/compatibility.csv``,
and writes the table of ``docs/compatibility.md`` from all rows. Tested is what is committed. Builds of torch for GPUs
take some 5 GB each while they are tested; environments are removed unless ``--keep`` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.rows import Row, Spread, Writer, read  # noqa: E402 - found by the line above

RELEASES = (
    *("2.10.0/3.11", "2.11.0/3.11", "2.12.1/3.11", "2.13.0/3.10"),
    *("2.13.0/3.11", "2.13.0/3.12", "2.13.0/3.13", "2.14.1/3.11", "2.14.1/3.13"),
)
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
CASE = "compatibility"
OUTCOMES = ("passed", "skipped", "failed")
ALL = "all"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="benchmarks/matrix.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("releases", nargs="*", metavar="TORCH/PYTHON", help="releases, as in 2.14.1/3.11")
    parser.add_argument("--tests", nargs="+", default=[], metavar="PATH", help="these tests instead of all")
    parser.add_argument("--python", nargs="+", default=[], metavar="VERSION=PATH", help="where a Python is")
    parser.add_argument("--folder", type=Path, help="folder of the environments; a temporary one by default")
    parser.add_argument("--jobs", default="2", help="tests that run at a time")
    parser.add_argument("--keep", action="store_true", help="leave the environments, which then are used again")
    parser.add_argument("--table", action="store_true", help="only write the table from the rows there are")
    parsed = parser.parse_args(arguments)
    for release in parsed.releases:
        if release.count("/") != 1:
            parser.error(f"a release is TORCH/PYTHON, as in 2.14.1/3.11, got {release}")
    for given in parsed.python:
        if "=" not in given:
            parser.error(f"--python takes VERSION=PATH, as in 3.13=/usr/bin/python3.13, got {given}")
    return parsed


def interpreter(version: str, given: Mapping[str, str]) -> str | None:
    """The path of a Python of that version; None if there is none."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        return given.get(version, sys.executable)
    return given.get(version) or shutil.which(f"python{version}")


def run(command: Sequence[str | Path], **options: object) -> None:
    """Runs a command, which must succeed."""
    print("+", *command, flush=True)
    subprocess.run([str(each) for each in command], check=True, **options)  # type: ignore[call-overload]


def environment(folder: Path, python: str, torch: str) -> Path:
    """An environment with that torch and what is committed here, built with it; the path of its Python."""
    own = folder / "bin" / "python"
    pip = [own, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    if not own.exists():
        run([python, "-m", "venv", folder])
        run([*pip, f"torch=={torch}", "setuptools>=77", "wheel", "ninja"])
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "xf", "-", "-C", source], input=archive, check=True)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    options = {"env": {**_surroundings(), "PATH": path, "GACT_REQUIRE_EXTENSION": "1"}}
    run([*pip, "--no-build-isolation", f"torch=={torch}", "-e", f"{source}[dev]"], **options)
    return own


def _surroundings() -> dict[str, str]:
    """The variables of this process but those that would have another package tested than the installed one."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def outcomes(report: Path) -> dict[str, int]:
    """How many tests passed, were skipped and failed, of a report of pytest's in JUnit's format."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, skipped, failed = (
        sum(int(suite.get(name, 0)) for suite in suites for name in names)
        for names in (("tests",), ("skipped",), ("failures", "errors"))
    )
    return {"passed": total - skipped - failed, "skipped": skipped, "failed": failed}


def tested(python: Path, source: Path, tests: Sequence[str], jobs: str) -> dict[str, int]:
    """Runs tests and counts how they end."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [str(python), "-m", "pytest", "-n", jobs, f"--junitxml={report}", *tests]
        print("+", *command, flush=True)
        subprocess.run(command, cwd=source, env={**_surroundings(), "OMP_NUM_THREADS": "1"}, check=False)
        return outcomes(report)


def table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of the table: the last run of each release and set of tests."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        config = json.loads(row["config"])
        facts = found.setdefault((config["torch"], config["python"], config["tests"]), {})
        facts[row["metric"]] = f"{float(row['p50']):.0f}"
        facts["commit"] = row["commit"]
    lines = ["| torch | Python | tests | passed | skipped | failed | commit |", "|---|---|---|---|---|---|---|"]
    for key in sorted(found, key=_order):
        facts = found[key]
        cells = [*key, *(facts.get(each, "") for each in OUTCOMES), facts["commit"]]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _order(key: tuple[str, str, str]) -> tuple[list[int], list[int], bool, str]:
    torch, python, tests = key
    numbers = [[int(part) for part in each.split("+")[0].split(".") if part.isdigit()] for each in (torch, python)]
    return numbers[0], numbers[1], tests != ALL, tests


def write_table() -> None:
    """Writes the table into the page."""
    path = RESULTS / f"{CASE}.csv"
    text = DOCS.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    lines = table(read(path)) if path.exists() else ["No rows yet."]
    DOCS.write_text(f"{before}{BEGIN}\n{chr(10).join(lines)}\n{END}{after}")


def main(arguments: Sequence[str]) -> int:
    """Runs what the command line asks for; 1 if a test failed or an environment could not be made."""
    asked = parse(arguments)
    if asked.table:
        write_table()
        return 0
    given = dict(each.split("=", 1) for each in asked.python)
    writer, bad = Writer(RESULTS, arguments), False
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="gact-matrix-"))
    for release in asked.releases or RELEASES:
        torch, version = release.split("/")
        python = interpreter(version, given)
        if python is None:
            print(f"{release}: no python{version} is found; --python {version}=PATH says where one is", flush=True)
            bad = bad or bool(asked.releases)
            continue
        place = folder.absolute() / f"torch-{torch}-python-{version}"
        try:
            counts = tested(environment(place, python, torch), place / "source", asked.tests, asked.jobs)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{release}: {error}", flush=True)
            bad = True
            continue
        finally:
            if not asked.keep:
                shutil.rmtree(place, ignore_errors=True)
        config = {"torch": torch, "python": version, "tests": " ".join(asked.tests) or ALL}
        for name in OUTCOMES:
            writer.append(CASE, Row(f"torch {torch}, Python {version}", name, Spread.exact(counts[name]), config))
        print(f"{release}: {', '.join(f'{counts[name]} {name}' for name in OUTCOMES)}", flush=True)
        bad = bad or counts["failed"] > 0
    write_table()
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

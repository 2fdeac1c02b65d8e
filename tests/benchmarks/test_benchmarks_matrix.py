"""The matrix of releases: what is counted, what the table shows, what the command line refuses."""

import json
import subprocess
import sys

import pytest

from benchmarks import matrix


def row(torch, python, metric, value, tests="all"):
    config = json.dumps({"torch": torch, "python": python, "tests": tests})
    return {"metric": metric, "p50": str(value), "config": config, "commit": "abc"}


def test_outcomes_are_counted(tmp_path):
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_passes(): pass\n"
        "def test_fails(): assert False\n"
        "@pytest.mark.skip\n"
        "def test_is_skipped(): pass\n"
        "@pytest.fixture\n"
        "def broken(): raise ValueError\n"
        "def test_has_an_error(broken): pass\n"
    )
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "test_some.py"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert matrix.outcomes(report) == {"passed": 1, "skipped": 1, "failed": 2}


def test_the_table_is_in_the_order_of_releases():
    rows = [
        *(row("2.14.1", "3.11", name, 1) for name in matrix.OUTCOMES),
        *(row("2.9.0", "3.11", name, 2) for name in matrix.OUTCOMES),
        *(row("2.14.1", "3.10", name, 3, "tests/store") for name in matrix.OUTCOMES),
    ]
    assert matrix.table(rows)[2:] == [
        "| 2.9.0 | 3.11 | all | 2 | 2 | 2 | abc |",
        "| 2.14.1 | 3.10 | tests/store | 3 | 3 | 3 | abc |",
        "| 2.14.1 | 3.11 | all | 1 | 1 | 1 | abc |",
    ]


def test_the_page_shows_the_rows_there_are(monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(matrix.DOCS.read_text())
    monkeypatch.setattr(matrix, "DOCS", page)
    matrix.write_table()
    assert page.read_text() == (matrix.ROOT / "docs" / "compatibility.md").read_text(), "run matrix.py --table"


@pytest.mark.parametrize("arguments", [["2.14.1"], ["--python", "3.13"]])
def test_a_command_line_that_is_not_understood(arguments, capsys):
    with pytest.raises(SystemExit):
        matrix.parse(arguments)
    assert "as in" in capsys.readouterr().err


def test_a_python_that_is_not_there():
    assert matrix.interpreter("3.99", {}) is None
    assert matrix.interpreter("3.99", {"3.99": "/some/python"}) == "/some/python"

"""Each thing that CONTRIBUTING says how to add is added by a file here, in less than 40 lines."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
ADDITIONS = sorted(path for path in HERE.glob("test_add_*.py"))
PAGE = (HERE.parents[1] / "CONTRIBUTING.md").read_text()
TABLE = PAGE.partition("## To add something, touch")[2].partition("\n## ")[0]


@pytest.mark.parametrize("path", ADDITIONS, ids=lambda path: path.stem)
def test_an_addition_is_short_and_named(path):
    assert len(path.read_text().splitlines()) < 40
    assert f"tests/additions/{path.name}" in TABLE


def test_every_row_has_its_addition():
    rows = [line for line in TABLE.splitlines() if line.startswith("|")][2:]
    assert len(ADDITIONS) == 7
    assert all("tests/" in row for row in rows)

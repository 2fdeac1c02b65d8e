"""Each example runs as it stands, compresses, and stays short."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_compresses(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    ratio = re.search(r"([\d.]+)x smaller", capsys.readouterr().out)
    assert ratio is not None
    assert float(ratio[1]) > 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short(path):
    assert len(path.read_text().splitlines()) < 80

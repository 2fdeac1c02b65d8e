"""The networks of the architectures case, the share of bytes covered, and the table of the docs."""

from pathlib import Path

import pytest
import torch
from benchmarks.architectures import ARCHITECTURES, build_architecture
from benchmarks.architectures_table import table
from benchmarks.gradients import exact_gradient, float_coverage, measure
from benchmarks.kept import plain_bytes

import gact
from gact.report import Report, Row


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_is_the_same_each_time(name):
    first, second = (build_architecture(name, tiny=True) for _ in range(2))
    assert torch.equal(exact_gradient(first), exact_gradient(second))
    assert torch.equal(exact_gradient(first), exact_gradient(first)), "a pass must change no state"


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "lstm_fused"])
def test_nearly_all_bytes_are_covered(name):
    built = build_architecture(name, tiny=True)
    # Tiny networks have tiny tensors, and many of their bytes lie in statistics, which are always exact.
    compressor = gact.Compressor(built.model, bits=8, adaptive=False, min_bytes=256, **built.settings)
    found = measure(built, compressor, exact_gradient(built), 1)
    assert found.coverage > 90
    assert found.kept_bytes < plain_bytes(built)
    assert found.noise[0] < 1e-3


def test_coverage_leaves_integers_out():
    rows = [("groups", 60), ("integers", 500), ("derived", 20), ("keep", 20)]
    report = Report(
        tuple(Row("", "op", 0, slot, codec, 0, 1, 0, size, 0, "") for slot, (codec, size) in enumerate(rows))
    )
    assert float_coverage(report) == 80
    assert float_coverage(Report(())) == 0


def test_the_table_of_the_docs_is_that_of_the_rows():
    text = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text()
    assert table() in text, "run python benchmarks/architectures_table.py and put its output into docs/architectures.md"

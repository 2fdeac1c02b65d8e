"""Two processes with DistributedDataParallel: equal widths, no reduction more, no process left waiting."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

RANKS = Path(__file__).with_name("ranks.py")
PATIENCE = 120

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")


def run(folder, scenario):
    """What both ranks saw."""
    commands = [[sys.executable, str(RANKS), str(folder), str(rank), scenario] for rank in range(2)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    try:
        for process in started:
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, errors
    finally:
        for process in started:
            process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory):
    return run(tmp_path_factory.mktemp("adaptive"), "adaptive")


def test_widths_are_equal_though_data_differ(adaptive):
    first, second = adaptive
    assert first["widths"] == second["widths"]
    assert len(set(first["widths"].values())) > 1
    assert first["variance"] == second["variance"] > 0
    assert first["failure"] == second["failure"] == ""


def test_gradients_are_equal_on_all_ranks(adaptive):
    assert adaptive[0]["gradient"] == adaptive[1]["gradient"]


def test_a_measurement_reduces_nothing_more(adaptive, tmp_path):
    plain = run(tmp_path, "uniform")
    assert adaptive[0]["passes"] > 0
    assert [each["buckets"] for each in adaptive] == [each["buckets"] for each in plain] == [8, 8]
    assert plain[0]["passes"] == 0


def test_a_failure_on_one_rank_ends_measuring_on_both(tmp_path):
    first, second = run(tmp_path, "failing")
    assert "another rank" in first["failure"]
    assert "LookupError: once too often" in second["failure"]
    assert first["widths"] == second["widths"] == {}
    assert first["gradient"] == second["gradient"]
    assert first["buckets"] == second["buckets"] == 8


def test_ranks_that_run_a_different_number_of_passes_measure_together(tmp_path):
    first, second = run(tmp_path, "uneven")
    assert first["passes"] == second["passes"] > 0
    assert first["widths"] == second["widths"]
    assert len(set(first["widths"].values())) > 1
    assert first["variance"] == second["variance"] > 0
    assert first["gradient"] == second["gradient"]

"""Tensor parallelism and pipeline schedules, on processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

RANKS = Path(__file__).with_name("parallel_ranks.py")
PATIENCE = 240

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")


def run(folder, world, scenario):
    """What all ranks saw."""
    commands = [[sys.executable, str(RANKS), str(folder), str(rank), str(world), scenario] for rank in range(world)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    try:
        for process in started:
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, errors
    finally:
        for process in started:
            process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


@pytest.mark.parametrize("world", [2, 4])
def test_tensor_parallel(world, tmp_path):
    ranks = run(tmp_path, world, "tensor parallel")
    for seen in ranks:
        assert seen["coverage"] > 90
        assert seen["error"] < 0.02
        assert seen["losses"] == pytest.approx(seen["plain losses"], rel=1e-3)
        assert seen["bits"] == ranks[0]["bits"]
        assert seen["collectives"][0] == seen["collectives"][1] > 0
        assert "DTensor parameters communicates" in seen["unmeasured"]


@pytest.mark.parametrize("scenario", ["1F1B", "1F1B in one context", "interleaved", "zero bubble"])
def test_pipelines_are_measured(scenario, tmp_path):
    for seen in run(tmp_path, 2, scenario):
        assert seen["passes"] > 1
        assert not seen["unmeasured"]
        assert seen["error"] < 0.03
        assert seen["losses"] == pytest.approx(seen["plain losses"], rel=1e-3)
        assert set(seen["reasons"]) <= {"leaf", "read in forward", "statistic"}  # what a stage receives is there anyway

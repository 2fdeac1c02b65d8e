"""Tensor parallelism and pipeline schedules, on processes of their own."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

import forked

RANKS = Path(__file__).with_name("parallel_ranks.py")
PATIENCE = 240

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")


def run(folder, world, scenario):
    """What all ranks saw."""
    forked.run_together([[RANKS, folder, rank, world, scenario] for rank in range(world)], PATIENCE)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


UNMEASURED = {
    "data parallel": "",
    "fully sharded": "fully_shard shards the parameters",
    "tensor parallel": "DTensor parameters communicates",
    "hybrid": "fully_shard shards the parameters",
    "hybrid, frozen": "fully_shard shards the parameters",
}


def check(seen):
    assert seen["coverage"] > 90
    assert seen["losses"] == pytest.approx(seen["plain losses"], rel=1e-3)
    assert not seen["weights"]
    ours, plain = (Counter(each) for each in seen["collectives"])
    assert ours == plain  # ranks agree by the store


@pytest.mark.parametrize("scenario", UNMEASURED)
def test_networks_on_four_ranks(scenario, tmp_path):
    ranks = run(tmp_path, 4, scenario)
    for seen in ranks:
        check(seen)
        assert seen["error"] < 0.02
        assert seen["bits"] == ranks[0]["bits"]
        assert seen["collectives"] == ranks[0]["collectives"]
        assert seen["losses"] == ranks[0]["losses"]
        assert UNMEASURED[scenario] in seen["unmeasured"]
        measured = not UNMEASURED[scenario]
        assert (seen["passes"] > 1, bool(seen["unmeasured"])) == (measured, not measured)


def test_tensor_parallel_on_two_ranks(tmp_path):
    ranks = run(tmp_path, 2, "tensor parallel")
    for seen in ranks:
        check(seen)
        assert seen["error"] < 0.02
        assert seen["bits"] == ranks[0]["bits"]


PIPELINES = [("1F1B", 2), ("1F1B", 4), ("1F1B in one context", 2), ("interleaved", 2), ("zero bubble", 2)]


@pytest.mark.parametrize(("scenario", "world"), PIPELINES, ids=lambda each: str(each))
def test_pipelines_are_measured(scenario, world, tmp_path):
    for seen in run(tmp_path, world, scenario):
        check(seen)
        assert seen["passes"] > 1
        assert not seen["unmeasured"]
        assert seen["error"] < 0.03
        assert set(seen["reasons"]) <= {"leaf", "read in forward", "statistic"}  # what a stage receives is there anyway

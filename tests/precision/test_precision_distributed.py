"""Two processes with DistributedDataParallel: equal widths, no reduction more, no process left waiting."""

import json
from pathlib import Path

import pytest
import torch

import forked

RANKS = Path(__file__).with_name("ranks.py")
PATIENCE = 120

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")


def run(folder, *scenarios):
    """What both ranks saw, of each scenario."""
    forked.run_together([[RANKS, folder, rank, *scenarios] for rank in range(2)], PATIENCE)
    seen = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    return dict(zip(scenarios, zip(*seen, strict=True), strict=True))


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return run(folder, "adaptive", "uniform", "failing", "uneven", "asked", "by hand", "resumed", "out of work")


def test_widths_are_equal_though_data_differ(seen):
    first, second = seen["adaptive"]
    assert first["widths"] == second["widths"]
    assert len(set(first["widths"].values())) > 1
    assert first["variance"] == second["variance"] > 0
    assert first["failure"] == second["failure"] == ""


def test_gradients_are_equal_on_all_ranks(seen):
    assert seen["adaptive"][0]["gradient"] == seen["adaptive"][1]["gradient"]


def test_a_measurement_reduces_nothing_more(seen):
    adaptive, plain = seen["adaptive"], seen["uniform"]
    assert adaptive[0]["passes"] > 0
    assert [each["buckets"] for each in adaptive] == [each["buckets"] for each in plain] == [8, 8]
    assert plain[0]["passes"] == 0


def test_a_failure_on_one_rank_ends_measuring_on_both(seen):
    first, second = seen["failing"]
    assert "another rank" in first["failure"]
    assert "LookupError: once too often" in second["failure"]
    assert first["widths"] == second["widths"] == {}
    assert first["gradient"] == second["gradient"]
    assert first["buckets"] == second["buckets"] == 8


def test_ranks_that_run_a_different_number_of_passes_measure_together(seen):
    first, second = seen["uneven"]
    assert first["passes"] == second["passes"] > 0
    assert first["widths"] == second["widths"]
    assert len(set(first["widths"].values())) > 1
    assert first["variance"] == second["variance"] > 0
    assert first["gradient"] == second["gradient"]


def test_what_one_rank_alone_asks_for_is_measured_on_all(seen):
    first, second = seen["asked"]
    assert first["failure"] == second["failure"] == ""
    assert first["passes"][4] < first["passes"][7]  # rank 0 asked between
    assert first["passes"][:8] == second["passes"][:8]
    assert first["widths"][:8] == second["widths"][:8]
    assert first["passes"][12] < first["passes"][15]  # it asked again, and had steps that rank 1 had not
    assert second["passes"][12] < second["passes"][15]


def test_a_state_that_one_rank_alone_loads_is_told_of_and_measured_away(seen):
    first, second = seen["asked"]
    assert second["widths"][8] == {} != first["widths"][8]
    assert first["widths"][12:] == second["widths"][12:]
    assert len(first["widths"][12]) > 1
    assert first["count"] == second["count"]
    assert len(first["warned"]) == len(second["warned"]) == 1


def test_ranks_of_a_group_agree_where_gradients_are_averaged_by_hand(seen):
    first, second = seen["by hand"]
    assert first["passes"] == second["passes"] == 14
    assert first["widths"] == second["widths"]
    assert first["failure"] == second["failure"] == ""


def test_resumed_ranks_round_as_those_that_never_stopped(seen):
    for each in seen["resumed"]:
        assert each["equal"] == [True] * 3
        assert each["agreed"] == [0, 3, 0]
        assert not each["failure"]
        assert not each["parted"]


def test_a_rank_out_of_work_leaves_nobody_waiting(seen):
    first, second = seen["out of work"]
    assert first["passes"] == second["passes"] > 0
    assert (first["steps"], second["steps"]) == (12, 6)
    assert first["failure"] == second["failure"] == ""

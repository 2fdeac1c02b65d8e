"""Plans as files, and what they say to write."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import gact
from gact.planning import Assignment, Largest, LevelPlan, Mix, Plan

LEVELS = (
    LevelPlan("L0", 900, False, 1.0, Largest(3, 90), Largest(7, 80, "model")),
    LevelPlan("CB2", 200, True, None),
    LevelPlan("mix", 400, True, 1.2),
)
MIX = Mix((Assignment("0", "recompute", 4), Assignment("1", "keep"), Assignment("", "quantize", 8)), 0.2, 400)
PLAN = Plan(500, 8, None, 4, 100, LEVELS, "mix", MIX, "a note", "/scratch")


@pytest.mark.parametrize("plan", [PLAN, replace(PLAN, mix=None, choice="", memory=None, levels=LEVELS[1:])])
def test_a_plan_is_the_same_after_it_was_saved(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert json.loads(plan.to_json())["use"] == plan.use


def test_a_loaded_plan_trains(tmp_path):
    model = nn.Sequential(*[nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)) for _ in range(3)])
    x = torch.randn(512, 64)
    plan = gact.plan(model, x, lambda model, x: model(x).sum(), memory="5 MiB", sizes=())
    plan.save(tmp_path / "plan.json")
    training = Plan.load(tmp_path / "plan.json").apply(model, "L1")
    with training:
        loss = model(x).sum()
    training.backward(loss)
    assert training.compressor.report().ratio > 3


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"plan": 99}', '{"plan": 1, "use": "", "levels": 3}'])
def test_a_file_that_holds_no_plan(text, tmp_path):
    check_refused(text, tmp_path)


DAMAGES = [
    *[(("memory",), value) for value in ("x", [], {}, True, -1, float("nan"), 10**400, 1.5)],
    *[(("bits",), value) for value in (None, "4", 4.5, [])],
    *[(("choice",), value) for value in (None, 3, ["L1"])],
    *[(("offload",), value) for value in (3, ["/scratch"])],
    *[(("levels", 0, "name"), value) for value in (None, 3, [])],
    *[(("levels", 0, "peak_bytes"), value) for value in ("x", None, [])],
    *[(("levels", 0, "seconds"), value) for value in ("x", [], -1.0)],
    *[(("levels", 0, "fits"), value) for value in ("x", 1)],
    *[(("levels", 0, "batch"), value) for value in ([], {}, 3, {"size": "x", "peak": 3})],
    *[(("mix", "assignments", 0, "module"), value) for value in (None, 3)],
    *[(("mix", "seconds"), value) for value in (None, "x")],
    (("mix", "assignments"), 3),
]


@pytest.mark.parametrize(("place", "value"), DAMAGES)
def test_a_plan_of_which_an_entry_is_damaged(place, value, tmp_path):
    data = json.loads(PLAN.to_json())
    at = data
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    check_refused(json.dumps(data), tmp_path)


def test_a_file_that_is_nested_without_end(tmp_path):
    check_refused("[" * 100_000, tmp_path)


def check_refused(text, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=r"other.json holds no plan that this version can read. Plan again with --save"
    ):
        Plan.load(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"choice": "L0"}, "plain training, which fits"),
        ({"choice": "L1"}, "gact.Compressor(model, bits=4)"),
        ({"choice": "L1", "bits": 2}, "gact.Compressor(model, bits=2)"),
        ({"choice": "L2"}, 'gact.Compressor.from_level(model, "L2", bits=4, offload="disk:/scratch")'),
        ({"choice": "L2", "offload": None}, 'gact.Compressor.from_level(model, "L2", bits=4)'),
        ({"choice": "CB1"}, 'gact.Compressor.from_level(model, "CB1", bits=4)'),
        ({"choice": "checkpointing"}, 'gact.Plan.load("plan.json").apply(model)'),
        ({"choice": "mix"}, 'gact.Plan.load("plan.json").apply(model)'),
        ({"choice": ""}, "a batch of 3, or more memory"),
        ({"choice": "", "levels": LEVELS[1:]}, "more memory, or a smaller model"),
        ({"choice": "", "memory": None}, 'plan with memory="8 GiB"'),
    ],
)
def test_the_last_line_says_what_to_write(changes, words):
    plan = replace(PLAN, **changes)
    assert plan.use.startswith(words)
    assert str(plan).splitlines()[-1] == f"use: {plan.use}"


def test_what_it_says_to_write_can_be_written():
    model = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(3)])
    for choice in ("L1", "L2", "CB1"):
        use = replace(PLAN, choice=choice, offload=None).use
        assert isinstance(eval(use, {"gact": gact, "model": model}), gact.Compressor)


def test_sizes_are_in_units_that_fit():
    text = str(replace(PLAN, memory=3 * 2**30, optimizer_bytes=5 * 2**20))
    assert "memory 3 GiB" in text
    assert "optimizer 5 MiB" in text
    assert " 900 B " in text
    assert "saved tensors in codes" not in text  # L1 is none of its ways
    assert "for each block the way that pays most" in text

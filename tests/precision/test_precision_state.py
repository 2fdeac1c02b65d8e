"""A resumed run is the run that never stopped, across measurements; damaged states are refused."""

import copy
import json
import math
import pickle

import pytest
import torch
from torch import nn

import gact
from training import compressor, gradient, passes, step

WAYS = {
    "same object": lambda state, path: state,
    "json": lambda state, path: json.loads(json.dumps(state)),
    "pickle": lambda state, path: pickle.loads(pickle.dumps(state)),
    "torch.save": lambda state, path: (torch.save(state, path), torch.load(path, weights_only=True))[1],
}


def network():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 8))


def train(c, model, numbers):
    """Steps of SGD on batches made from their numbers: all gradients, and the widths after each step."""
    seen = []
    for number in numbers:
        model.zero_grad()
        step(c, model, torch.randn(64, 32, generator=torch.Generator().manual_seed(number)))
        seen.append((gradient(model), dict(c.state_dict()["precision"])))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    return seen


BUDGETS = {"bits": {"bits": 3.3}, "ratio": {"ratio": 9.0}, "max_noise": {"max_noise": 0.01}}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("options", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize("stop", [2, 5])
def test_a_resumed_run_equals_the_original_across_measurements(way, options, stop, tmp_path):
    model = network()
    original = compressor(model, probe_interval=4, **options)
    train(original, model, range(stop))
    twin = copy.deepcopy(model)
    state = way(original.state_dict(), tmp_path / "state")
    before = passes(original)
    expected = train(original, model, range(stop, stop + 12))
    assert passes(original) > before
    resumed = compressor(twin, probe_interval=4, seed=99, **options)
    resumed.load_state_dict(state)
    for (ours, known), (theirs, knew) in zip(train(resumed, twin, range(stop, stop + 12)), expected, strict=True):
        assert torch.equal(ours, theirs)
        assert known == knew


def test_a_run_that_gave_up_measuring_stays_so():
    model = network()
    c, resumed = compressor(model), compressor(model)
    c._controller.failure = "its backward works once"
    resumed.load_state_dict(c.state_dict())
    train(resumed, model, range(3))
    assert passes(resumed) == 0


def site(**changes):
    def spoil(precision):
        precision["sites"][0].update(changes)

    return spoil


DAMAGED = {
    "no sites": lambda precision: precision.pop("sites"),
    "unknown key": lambda precision: precision.update(more=1),
    "sites of a number": lambda precision: precision.update(sites=3),
    "noise of a text": lambda precision: precision.update(noise="much"),
    "negative passes": lambda precision: precision.update(passes=-1),
    "half a pass": lambda precision: precision.update(passes=1.5),
    "three totals": lambda precision: precision.update(totals=[1, 2, 3]),
    "schedule of another release": lambda precision: precision["schedule"].update(other=1),
    "schedule without its steps": lambda precision: precision["schedule"].pop("measured_at"),
    "width of nine": site(width=9),
    "width of zero": site(least=0),
    "fractional width": site(most=2.5),
    "two noises": site(noise=[1.0, 2.0]),
    "noise that is no number": site(noise=[math.nan] * 8),
    "negative noise": site(noise=[-1.0] * 8),
    "endless spread": site(spread=math.inf),
    "negative elements": site(numels=[-4]),
    "three names": site(site=["a", "b", 0]),
    "seen before all steps": site(seen=-1),
    "gap of a text": site(gap="long"),
    "neither here nor gone": site(gone=None),
    "sample of no bytes": lambda precision: precision.update(
        snapshot={"leaves": [], "numel": [], "read": "?", "tries": 1}
    ),
    "sample without leaves": lambda precision: precision.update(snapshot={"read": ""}),
    "request of a text": lambda precision: precision["schedule"].update(requested="soon"),
}


@pytest.mark.parametrize("spoil", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_state_is_refused_and_changes_nothing(spoil):
    model = network()
    c = compressor(model)
    train(c, model, range(3))
    before, state = c.state_dict(), json.loads(json.dumps(c.state_dict()))
    assert state["precision"]["sites"]
    spoil(state["precision"])
    with pytest.raises(ValueError, match=r"the precision state is damaged \(.*Pass what state_dict\(\) returned"):
        c.load_state_dict(state)
    assert c.state_dict() == before


@pytest.mark.parametrize("precision", [None, 3, []], ids=str)
def test_a_precision_state_that_is_no_mapping_is_refused(precision):
    c = compressor(network())
    with pytest.raises(ValueError, match="the precision state is damaged"):
        c.load_state_dict({**c.state_dict(), "precision": precision})


OTHERS = {
    "bits": {"bits": 6.0},
    "fewer bits": {"bits": 1.5},
    "ratio": {"bits": 4.0, "ratio": 12.0},
    "memory": {"bits": 4.0, "memory": 12_000},
    "max_noise": {"bits": 4.0, "max_noise": 1e-3},
    "not adaptive": {"bits": 7, "adaptive": False},
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_a_resumed_run_holds_to_what_is_asked_for_now(options):
    model = network()
    original = compressor(model, bits=3.3)
    train(original, model, range(5))
    resumed, fresh = compressor(model, **options), compressor(model, **options)
    resumed.load_state_dict(original.state_dict())
    train(resumed, model, range(5, 6))
    train(fresh, model, range(4))
    report = resumed.report()
    if "max_noise" not in options:  # the variance from batch to batch is that of two other batches
        assert report.kept_bytes == pytest.approx(fresh.report().kept_bytes, rel=0.1)
    if "ratio" in options:
        assert report.ratio == pytest.approx(12.0, rel=0.02)
    if "memory" in options:
        assert report.kept_bytes <= 12_000 * 1.02
    if "max_noise" in options:
        assert report.noise_ratio <= 1e-3


def test_a_resumed_run_warns_of_a_budget_that_is_out_of_reach():
    model = network()
    original = compressor(model)
    train(original, model, range(4))
    resumed = compressor(model, ratio=200.0)
    resumed.load_state_dict(original.state_dict())
    with pytest.warns(gact.GactWarning, match="gact cannot reach ratio=200"):
        train(resumed, model, range(4, 5))


def test_why_a_run_gave_up_measuring_is_told_as_of_before():
    model = network()
    c, resumed, again = compressor(model), compressor(model), compressor(model)
    c._controller.failure = "its backward works once"
    resumed.load_state_dict(c.state_dict())
    again.load_state_dict(resumed.state_dict())
    with pytest.warns(gact.GactWarning, match=r"before the run was resumed: its backward.*measure_next\(\)"):
        train(again, model, range(3))
    assert again.report().unmeasured == "before the run was resumed: its backward works once"
    again.measure_next()
    train(again, model, range(3, 5))
    assert passes(again) > 0


@pytest.mark.parametrize("options", BUDGETS.values(), ids=BUDGETS)
def test_saving_in_every_step_changes_nothing(options):
    def trained(saves):
        torch.manual_seed(3)
        model = network()
        c = compressor(model, probe_interval=4, **options)
        for number in range(12):
            model.zero_grad()
            step(c, model, torch.randn(64, 32, generator=torch.Generator().manual_seed(number)))
            if saves:
                copy.copy(c)
                c.state_dict()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
        return gradient(model), c.report().batch_variance, c.state_dict()

    (ours, variance, state), (theirs, expected, known) = trained(True), trained(False)
    assert torch.equal(ours, theirs)
    assert variance == expected is not None
    assert state == known


def test_a_reading_of_the_meter_is_dropped_where_parameters_have_other_names():
    model = network()
    original = compressor(model, max_noise=0.01)
    train(original, model, range(2))
    state = original.state_dict()
    assert set(state["precision"]["snapshot"]["leaves"]) == dict(model.named_parameters()).keys()
    resumed = compressor(nn.Sequential(model), max_noise=0.01)
    resumed.load_state_dict(state)
    assert resumed.state_dict()["precision"]["snapshot"] is None

"""Saving and resuming, and what users may pass."""

import copy
import json
import pickle

import pytest
import torch
from torch import nn

import gact


def run(c, model, steps, x, hold=None):
    gradients = []
    for _ in range(steps):
        model.zero_grad()
        with c:
            loss = model(x).square().mean()
            if hold is not None:
                hold.append(model(x).softmax(-1).max())
                del hold[:-1]
        c.backward(loss)
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    return gradients


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8))


@pytest.fixture
def x():
    return torch.randn(64, 32)


def compressor(model, **options):
    return gact.Compressor(model, **{"bits": 2, "min_bytes": 0, "seed": 5, **options})


@pytest.mark.parametrize("way", ["same object", "json", "pickle", "torch.save"])
def test_a_resumed_run_rounds_as_one_that_never_stopped(way, model, x, tmp_path):
    whole = compressor(model)
    run(whole, model, 3, x)
    state = whole.state_dict()
    if way == "json":
        state = json.loads(json.dumps(state))
    elif way == "pickle":
        state = pickle.loads(pickle.dumps(state))
    elif way == "torch.save":
        torch.save(state, tmp_path / "state")
        state = torch.load(tmp_path / "state", weights_only=True)
    expected = run(whole, model, 3, x)
    resumed = compressor(model, seed=99)
    resumed.load_state_dict(state)
    assert all(map(torch.equal, run(resumed, model, 3, x), expected))


def test_a_run_resumed_while_a_metric_is_alive_rounds_equally(model, x):
    whole, metric = compressor(model), []
    run(whole, model, 3, x, metric)
    state = whole.state_dict()
    expected = run(whole, model, 3, x, metric)
    resumed = compressor(model)
    resumed.load_state_dict(state)
    assert all(map(torch.equal, run(resumed, model, 3, x, []), expected))


def test_a_run_resumed_inside_one_context_rounds_equally(model, x):
    def steps(count):
        gradients = []
        for _ in range(count):
            model.zero_grad()
            model(x).square().mean().backward()
            gradients.append(model[0].weight.grad.clone())
        return gradients

    whole = compressor(model)
    with whole:
        steps(3)
        state = whole.state_dict()
        expected = steps(3)
    resumed = compressor(model)
    resumed.load_state_dict(state)
    with resumed:
        assert all(map(torch.equal, steps(3), expected))


def test_one_context_rounds_as_a_context_for_each_step(model, x):
    expected = run(compressor(model), model, 4, x)
    gradients = []
    with compressor(model) as c:
        for _ in range(4):
            model.zero_grad()
            c.backward(model(x).square().mean())
            gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert all(map(torch.equal, gradients, expected))


def test_the_state_counts_steps(model, x):
    c = compressor(model)
    assert c.state_dict()["steps"] == 0
    run(c, model, 3, x)
    assert c.state_dict()["steps"] == 3


def test_a_state_is_a_copy(model, x):
    c = compressor(model)
    state = c.state_dict()
    run(c, model, 2, x)
    assert state == compressor(model).state_dict()
    state["steps"] = 1000
    assert c.state_dict()["steps"] == 2


BROKEN = {
    "missing": (lambda state: state.pop("seed"), "state must have the keys .*'seed'"),
    "unknown": (lambda state: state.update(more=1), "state must have the keys .*got .*'more'"),
    "another version": (lambda state: state.update(version=999), "state has version 999; this release reads version"),
    "bits out of range": (lambda state: state.update(bits=9), "bits must be a number from 1 to 8, got 9"),
    "seed of a wrong type": (lambda state: state.update(seed="x"), "seed must be a whole number"),
    "steps below zero": (lambda state: state.update(steps=-1), "steps must be a whole number of at least 0, got -1"),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_state_is_refused_and_changes_nothing(spoil, message, model):
    c = compressor(model)
    before, state = c.state_dict(), {**c.state_dict(), "steps": 7, "seed": 8, "bits": 4.0}
    spoil(state)
    with pytest.raises(ValueError, match=message):
        c.load_state_dict(state)
    assert c.state_dict() == before


def test_what_is_asked_for_is_not_changed_by_a_state(model, x):
    c = gact.Compressor(model, bits=8, adaptive=False, min_bytes=0)
    c.load_state_dict({**compressor(model).state_dict(), "bits": 2.5})
    assert "Compressor(bits=8.0, adaptive=False" in repr(c)
    run(c, model, 1, x)
    assert {row.bits for row in c.report().rows if row.codec == "groups"} == {8}


@pytest.mark.parametrize("state", [None, 5, []], ids=str)
def test_a_state_that_is_no_mapping_is_refused(state, model):
    with pytest.raises((TypeError, ValueError), match="state"):
        compressor(model).load_state_dict(state)


ARGUMENTS = {
    "bits of zero": ({"bits": 0}, "bits must be a number from 1 to 8, got 0"),
    "bits of nine": ({"bits": 8.5}, r"bits must be a number from 1 to 8, got 8\.5"),
    "bits not a number": ({"bits": float("nan")}, "bits must be a number from 1 to 8, got nan"),
    "bits in words": ({"bits": "4"}, "bits must be a number from 1 to 8, got '4'"),
    "bits of a truth value": ({"bits": True}, "bits must be a number from 1 to 8, got True"),
    "fractional bits": ({"bits": 2.5, "adaptive": False}, "bits must be whole with adaptive=False"),
    "interval of zero": ({"probe_interval": 0}, "probe_interval must be a whole number of at least 1 or None, got 0"),
    "fractional interval": ({"probe_interval": 1.5}, "probe_interval must be a whole number"),
    "group size of 100": ({"group_size": 100}, "group_size must be a power of two from 32 to 1024, got 100"),
    "group size of 16": ({"group_size": 16}, "group_size must be a power of two from 32 to 1024, got 16"),
    "group size of 2048": ({"group_size": 2048}, "group_size must be a power of two from 32 to 1024, got 2048"),
    "group size in words": ({"group_size": "256"}, "group_size must be a power of two"),
    "group size that cannot be hashed": ({"group_size": [256]}, "group_size must be a power of two"),
    "group size with a fraction": ({"group_size": 256.5}, "group_size must be a power of two"),
    "negative size": ({"min_bytes": -1}, "min_bytes must be a whole number of at least 0 or None, got -1"),
    "seed too large": ({"seed": 2**63}, "seed must be a whole number that fits in 64 bits"),
    "seed in words": ({"seed": "0"}, "seed must be a whole number that fits in 64 bits"),
    "no seed": ({"seed": None}, "seed must be a whole number that fits in 64 bits, got None"),
}


@pytest.mark.parametrize(("options", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_out_of_range_are_refused_with_words(options, message):
    with pytest.raises(ValueError, match=message):
        gact.Compressor(nn.Linear(2, 2), **options)


@pytest.mark.parametrize("model", [5, "model", [nn.Linear(2, 2)], nn.Linear], ids=lambda x: type(x).__name__)
def test_a_model_that_is_no_module_is_refused(model):
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module or None, got"):
        gact.Compressor(model)


@pytest.mark.parametrize("bits", [1, 2, 3, 4.0, 5, 6, 7, 8])
@pytest.mark.parametrize("group_size", [32, 64, 128, 256, 512, 1024])
def test_all_widths_and_group_sizes_train(bits, group_size, model, x):
    c = gact.Compressor(model, bits=bits, adaptive=False, group_size=group_size, min_bytes=0)
    (gradient,) = run(c, model, 1, x.requires_grad_() * 1)
    assert gradient.isfinite().all()
    assert {row.bits for row in c.report().rows if row.codec == "groups"} == {int(bits)}


@pytest.mark.parametrize("bits", [1.5, 3.9, 4.2])
def test_fractional_widths_spend_no_more_than_asked(bits, model, x):
    c = gact.Compressor(model, bits=bits, min_bytes=0)
    run(c, model, 1, x.requires_grad_() * 1)
    assert max(row.bits for row in c.report().rows if row.codec == "groups") <= bits


def test_numbers_of_numpy_are_numbers(model, x):
    numpy = pytest.importorskip("numpy")
    c = gact.Compressor(
        model, bits=numpy.float32(4), group_size=numpy.int64(64), min_bytes=numpy.int32(0), seed=numpy.int64(3)
    )
    run(c, model, 1, x)
    json.dumps(c.state_dict())


def test_the_representation_names_the_settings(model):
    text = repr(gact.Compressor(model, bits=3, min_bytes=17, seed=5))
    assert text.startswith("Compressor(")
    for part in ("bits=3", "min_bytes=17", "seed=5", "group_size=256"):
        assert part in text


@pytest.mark.parametrize("way", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["deepcopy", "pickle"])
def test_a_compressor_can_be_copied(way, model, x):
    # Averaged models and multiprocessing copy whatever hangs on a trainer.
    c = compressor(model)
    run(c, model, 2, x)
    twin = way(c)
    assert twin.state_dict() == c.state_dict()
    with twin:
        output = model(x)
    output.sum().backward()


def test_closing_what_was_not_opened_is_refused():
    with pytest.raises(RuntimeError, match=r"not (entered|open)"):
        gact.Compressor().__exit__(None, None, None)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_run_that_compresses_blocks_again_is_resumed_to_the_bit(steps):
    model = nn.Sequential(*(nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(3)))
    x, options = torch.randn(64, 32), {"adaptive": False, "checkpoint": True, "compress_again": True}
    whole = compressor(model, **options)
    run(whole, model, steps, x)
    state = json.loads(json.dumps(whole.state_dict()))
    resumed = compressor(model, **options)
    resumed.load_state_dict(state)
    expected = run(whole, model, 2, x)
    assert all(map(torch.equal, run(resumed, model, 2, x), expected))
    assert not torch.equal(*expected)

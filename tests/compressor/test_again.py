"""What blocks save when they run again is held in codes too, and nothing else changes."""

import copy
import gc
import warnings

import pytest
import torch
from test_checkpointing import Model, equal, gradients
from torch import nn

import gact
from gact.checkpoint import recompute as again
from gact.memory import profile_step


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def x():
    return torch.randn(16, 32)


@pytest.fixture
def coded(monkeypatch):
    """The sizes of what checkpoint was handed codes for."""
    seen = []
    real = again.Coded.__init__

    def noted(self, packed, tensor):
        seen.append(tuple(tensor.shape))
        real(self, packed, tensor)

    monkeypatch.setattr(again.Coded, "__init__", noted)
    return seen


def compressing(model, **options):
    options = {"bits": 8, "adaptive": False, "min_bytes": 0, **options}
    return gact.Compressor(model, checkpoint=True, compress_again=True, **options)


def test_gradients_are_those_of_plain_training_up_to_the_rounding(model, x, coded):
    expected, state = gradients(model, x, torch.enable_grad())
    got, after = gradients(model, x, compressing(model))
    error = sum((a - b).square().sum() for a, b in zip(got, expected, strict=True))
    assert 0 < error < 1e-3 * sum(b.square().sum() for b in expected)
    assert len(coded) >= 6  # in each of three blocks what both linear layers and GELU save, some of it rebuilt
    assert torch.equal(after, state)


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_what_a_rule_keeps_is_exact_inside_too(model, x, coded):
    expected, _ = gradients(model, x, torch.enable_grad())
    got, _ = gradients(model, x, compressing(model, rules=[gact.Rule(keep=True)]))
    assert equal(got, expected)
    assert {size for size in coded if size == (16, 64)} <= {(16, 64)}  # the exact mask of dropout


def test_only_the_inputs_of_blocks_are_in_the_report(model, x):
    c = compressing(model)
    gradients(model, x, c)
    assert {row.op for row in c.report().rows if row.module.startswith("blocks")} == {"checkpoint"}


def test_roundings_differ_from_step_to_step_and_repeat_with_the_seed(model, x):
    c, twin = compressing(model, bits=4), compressing(model, bits=4)
    first, _ = gradients(model, x, c)
    assert equal(gradients(model, x, twin)[0], first)
    assert not equal(gradients(model, x, c)[0], first)
    assert "compress_again=True" in repr(copy.deepcopy(c))


def test_a_graph_may_be_run_through_twice(model, x):
    c = compressing(model)
    with c:
        loss = model(x)
    for _ in range(2):
        model.zero_grad()
        loss.backward(retain_graph=True)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_nothing_is_left_of_a_step(model, x):
    c = compressing(model)
    gradients(model, x, c)
    gc.collect()
    assert not any(type(each) is again.Coded for each in gc.get_objects())


def test_backward_inside_the_context_is_no_matter_for_warnings(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with compressing(model):
            model(x).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_step_that_measures_holds_plain_tensors(model, x, coded):
    c, counts = compressing(model, bits=4, adaptive=True), []
    for _ in range(3):
        with c:
            loss = model(x)
        coded.clear()
        c.backward(loss)
        counts.append((c.report().passes, len(coded)))
    assert counts[1][0] > 1
    assert counts[1][1] == 0
    assert counts[0][1] == counts[2][1] > 0


def test_the_peak_of_the_blocks_is_that_of_codes():
    blocks = [nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)) for _ in range(3)]
    model, x = (
        nn.Sequential(*(nn.Sequential(block, nn.Sequential(*copy.deepcopy(block))) for block in blocks)),
        (torch.randn(2048, 64)),
    )
    peaks = []
    for compress_again in (False, True):
        c = gact.Compressor(model, bits=4, adaptive=False, checkpoint=True, compress_again=compress_again)

        def step():
            with c:  # noqa: B023 - runs at once
                loss = model(x).square().mean()
            loss.backward()

        model.zero_grad()
        peaks.append(profile_step(step, model, [x]).peak_bytes)
    assert peaks[1] < 0.85 * peaks[0]


def test_it_is_for_checkpointed_blocks(model):
    with pytest.raises(ValueError, match="compress_again=True is for checkpointed blocks"):
        gact.Compressor(model, compress_again=True)

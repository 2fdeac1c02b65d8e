"""Measurements that are asked for: without an interval no others come after the first, and part of a batch will do."""

import copy

import pytest
import torch
from torch import nn

from gact.precision.schedule import Schedule
from training import compressor, gradient, passes, square, step, steps, uniform, widths


def network():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 8))


def measured_steps(c, model, x, count):
    """Which of so many steps measure, from 1."""
    found = []
    for number in range(1, count + 1):
        before = passes(c)
        step(c, model, x)
        found += [number] * (passes(c) > before)
    return found


def test_without_an_interval_the_first_is_the_only_one():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model, probe_interval=None)
    assert measured_steps(c, model, x, 60) == [2]


def test_without_an_interval_new_sites_and_wider_ranges_change_nothing():
    model, more, x = network(), network(), torch.randn(64, 32)
    c = compressor(nn.ModuleList([model, more]), probe_interval=None)
    steps(c, model, x, 3)
    before = widths(c)
    for _ in range(60):
        step(c, more, x)
        step(c, model, x * 7)
    assert widths(c) == before != {}


def test_without_an_interval_a_failure_is_tried_again():
    schedule = Schedule(None)
    assert [number for number in range(2, 40) if schedule.is_due(number, True)] == [2, 3, 5, 9, 17, 33]
    schedule.succeeded(33)
    assert not any(schedule.is_due(number, True) for number in range(34, 4000))


@pytest.mark.parametrize(("interval", "due"), [(None, [1]), (1000, [1, 11]), (10_000, [1])])
def test_the_step_after_a_request_measures(interval, due):
    model, x = network(), torch.randn(64, 32)
    c = compressor(model, probe_interval=interval)
    steps(c, model, x, 4)
    c.measure_next()
    assert measured_steps(c, model, x, 20) == due


def test_a_request_before_the_first_step_measures_it():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model, probe_interval=None)
    c.measure_next()
    assert measured_steps(c, model, x, 20) == [1]


def test_a_request_waits_for_a_step_that_can_be_measured():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model, probe_interval=None)
    steps(c, model, x, 4)
    c.measure_next()
    with c:
        square(model, x)  # its graph is dropped
    assert measured_steps(c, model, x, 20) == [1]


def test_a_request_changes_no_gradient():
    model, x = network(), torch.randn(64, 32)
    twin, c = copy.deepcopy(model), compressor(model, probe_interval=None)
    c.measure_next()
    steps(c, model, x, 1)
    steps(uniform(twin), twin, x, 1)
    assert torch.equal(gradient(model), gradient(twin))


def test_a_request_does_not_count_as_one_before_its_time():
    schedule = Schedule(1000)
    for number in (2, 12, 42, 132, 402, 1212):
        assert schedule.is_due(number, False)
        schedule.succeeded(number)
    schedule.request()
    assert schedule.is_due(1300, False)
    schedule.succeeded(1300)
    assert (schedule.requested, schedule.early) == (False, 0)
    assert not schedule.is_due(2212, False)
    assert schedule.is_due(2300, False)


def test_a_request_is_part_of_the_state():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model, probe_interval=None)
    steps(c, model, x, 4)
    c.measure_next()
    resumed = compressor(model, probe_interval=None)
    resumed.load_state_dict(c.state_dict())
    assert measured_steps(resumed, model, x, 3) == measured_steps(c, model, x, 3) == [1]
    assert widths(resumed) == widths(c)


def test_a_request_without_adaptive_widths_is_refused():
    with pytest.raises(ValueError, match=r"measure_next\(\) needs measured sensitivities, got adaptive=False"):
        uniform(network()).measure_next()


def test_a_request_after_giving_up_tries_once_more():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model)
    steps(c, model, x, 1)
    c._controller.failure = "a hook has failed once."
    assert measured_steps(c, model, x, 3) == []
    c.measure_next()
    assert measured_steps(c, model, x, 3) == [1]


def on_a_part(c, model, x, batch, loss=square):
    """A measurement on the first samples, in a step of its own; the gradient is dropped."""
    c.measure_next()
    step(c, model, x[:batch], loss)
    model.zero_grad()


def test_part_of_a_batch_gives_the_widths_of_the_whole():
    model, x = network(), torch.randn(512, 32)
    whole, part = compressor(model, bits=3, probe_interval=None), compressor(model, bits=3, probe_interval=None)
    on_a_part(whole, model, x, 512)
    on_a_part(part, model, x, 128)
    assert passes(whole) == passes(part) > 1
    assert set(widths(part)) == set(widths(whole))
    assert all(abs(bits - widths(whole)[site]) <= 1 for site, bits in widths(part).items())


def kept(c, model, x):
    """Bytes held after forward."""
    with c:
        loss = square(model, x)
    size = c.report().kept_bytes
    c.backward(loss)
    model.zero_grad()
    return size


@pytest.mark.parametrize("budget", [{"memory": 44_000}, {"ratio": 10.0}], ids=["memory", "ratio"])
@pytest.mark.parametrize("interval", [None, 1000])
def test_a_budget_in_bytes_is_kept_by_the_whole_batch(budget, interval):
    model, x = network(), torch.randn(512, 32)
    c, whole = (compressor(model, probe_interval=interval, **budget) for _ in range(2))
    on_a_part(whole, model, x, 512)
    on_a_part(c, model, x, 64)
    for _ in range(4):
        size = kept(c, model, x)
    expected = kept(whole, model, x)
    assert size == pytest.approx(expected, rel=0.1)
    if "memory" in budget:
        assert size <= budget["memory"]
    else:
        assert c.report().ratio >= budget["ratio"]
    # Rounding averages out over a batch, as far as the gradients of its samples agree.
    assert whole.report().noise / 2 < c.report().noise < 16 * whole.report().noise


def test_growing_once_is_enough_and_part_of_the_state():
    model, x = network(), torch.randn(512, 32)
    c = compressor(model, memory=44_000, probe_interval=None)
    on_a_part(c, model, x, 64)
    kept(c, model, x)
    state = c.state_dict()
    resumed = compressor(model, memory=44_000, probe_interval=None)
    resumed.load_state_dict(state)
    assert [kept(resumed, model, x) for _ in range(3)] == [kept(c, model, x) for _ in range(3)]
    before = widths(c)
    kept(c, model, x[:32])  # a last batch that is smaller takes nothing back
    kept(c, model, x)
    assert widths(c) == before

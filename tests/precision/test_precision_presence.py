"""Sites that vanished are left out of the budget; those that come by turns stay in it."""

import json

import pytest
import torch
from torch import nn

from gact.precision.sightings import Sightings
from gact.records import Site
from training import compressor, step, steps

PATIENCE = 64


class Branched(nn.Module):
    """A second branch that can be left out."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(32, 256), nn.Tanh(), nn.Linear(256, 32), nn.Tanh())
        self.both = True

    def forward(self, x):
        return self.first(x) + (self.second(x) if self.both else 0)


def counted(c):
    """Parts of the network whose sites count for the budget."""
    controller = c._controller
    return {site.module.split(".")[0] for site in controller.findings if not controller._sightings.is_gone(site)} - {""}


def held_bits(c):
    """Average width over the elements of the last step whose width was chosen."""
    rows = [row for row in c.report().rows if row.codec == "groups"]
    return sum(row.bits * row.plain_bytes for row in rows) / sum(row.plain_bytes for row in rows)


def test_a_branch_that_is_left_out_for_good_leaves_the_budget():
    model, x = Branched(), torch.randn(64, 32)
    c = compressor(model, bits=3, probe_interval=None)
    steps(c, model, x, 4)
    assert counted(c) == {"first", "second"}
    model.both = False
    steps(c, model, x, PATIENCE)
    assert counted(c) == {"first", "second"}
    steps(c, model, x, 20)
    assert counted(c) == {"first"}
    without = compressor(model, bits=3, probe_interval=None)
    for each in (without, c):
        steps(each, model, x, 4)
        shares = [row.noise_share for row in each.report().rows if row.noise_share is not None]
        assert sum(shares) == pytest.approx(1)
    assert held_bits(c) == pytest.approx(held_bits(without), rel=0.1)


@pytest.mark.parametrize("budget", [{"memory": 20_000}, {"ratio": 8.0}], ids=["memory", "ratio"])
def test_a_budget_in_bytes_is_spent_on_those_that_are_left(budget):
    model, x = Branched(), torch.randn(64, 32)
    c = compressor(model, probe_interval=None, **budget)
    steps(c, model, x, 4)
    model.both = False
    steps(c, model, x, 4)
    before = sum(c._controller.widths[site] for site in c._steps.ledger._sites if site in c._controller.findings)
    steps(c, model, x, 100)
    after = sum(c._controller.widths[site] for site in c._steps.ledger._sites if site in c._controller.findings)
    if "memory" in budget:
        assert after > before
        assert c.report().kept_bytes <= budget["memory"]
    else:
        assert 8.0 <= c.report().ratio < 9.0


def test_a_branch_that_comes_back_takes_part_at_once_without_a_measurement():
    model, x = Branched(), torch.randn(64, 32)
    c = compressor(model, bits=3, probe_interval=None)
    steps(c, model, x, 4)
    passes, widths = c._controller.passes, dict(c._controller.widths)
    model.both = False
    steps(c, model, x, 100)
    assert counted(c) == {"first"}
    model.both = True
    steps(c, model, x, 2)
    assert counted(c) == {"first", "second"}
    assert c._controller.passes == passes
    assert sum(c._controller.widths.values()) == pytest.approx(sum(widths.values()), abs=4)


@pytest.mark.parametrize("period", [2, 5, 40])
def test_losses_by_turns_stay(period):
    model, other, x = Branched(), Branched(), torch.randn(64, 32)
    c = compressor(nn.ModuleDict({"a": model, "b": other}), probe_interval=None)
    for each in (model, other):
        c.measure_next()
        step(c, each, x)
    changes, before = 0, None
    for number in range(1, 300):
        step(c, other if number % period == 0 else model, x)
        changes += before is not None and before - counted(c) != set()
        before = counted(c)
    assert before == {"a", "b"}
    assert changes == 0


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_stochastic_depth_stays(share):
    model, x = Branched(), torch.randn(64, 32)
    c = compressor(model, probe_interval=100)
    steps(c, model, x, 4)
    lost = 0
    for _ in range(400):
        model.both = bool(torch.rand(()) < share)
        step(c, model, x)
        lost += "second" not in counted(c)
    assert lost == 0


def test_a_long_absence_makes_patient():
    sightings, site = Sightings(), object()
    for number in (1, 2, 3, 53):  # 50 steps away
        sightings.note(site, number)
    assert not sightings.vanished(53 + 200)
    assert sightings.vanished(53 + 201)
    assert not sightings.vanished(53 + 202)  # told once
    assert sightings.is_gone(site)
    sightings.note(site, 300)
    assert sightings.returned(301)
    assert not sightings.is_gone(site)


@pytest.mark.parametrize("stop", [10, 70, 75, 90])
def test_a_run_resumed_while_a_branch_is_away_equals_the_original(stop):
    model, x = Branched(), torch.randn(64, 32)
    c = compressor(model, bits=3, probe_interval=50)
    steps(c, model, x, 4)
    model.both = False
    steps(c, model, x, stop)
    state = json.loads(json.dumps(c.state_dict()))
    resumed = compressor(model, bits=3, probe_interval=50)
    resumed.load_state_dict(state)
    for number in range(100):
        model.both = number > 80
        steps(c, model, x, 1)
        steps(resumed, model, x, 1)
        assert resumed.state_dict() == c.state_dict()
    assert counted(resumed) == {"first", "second"}


def test_ranks_that_saw_other_sites_leave_out_the_same_ones():
    sites = {(name, "linear", 0, 0): Site(name, "linear") for name in "abc"}
    site_of = lambda *names: sites[names]  # noqa: E731
    a, b, c = sites.values()
    ranks = [Sightings(), Sightings()]
    for rank in ranks:
        for site in sites.values():
            rank.note(site, 2)
    for number in range(3, 200):
        ranks[0].note(a, number)
        ranks[number % 2].note(b, number)
    merged = {names: max(rank.times()[names] for rank in ranks) for names in sites}
    for rank in ranks:
        rank.merge(merged, site_of)
        assert rank.vanished(200)
        assert [rank.is_gone(site) for site in (a, b, c)] == [False, False, True]
    assert ranks[0].times() == ranks[1].times()

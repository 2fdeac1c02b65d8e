"""Ranks agree by keys of a store: who measures when, who refuses, and nobody waits."""

import math

import pytest
import torch
from torch import nn

import gact
from gact.autograd.replicas import Replicas
from gact.precision.agreement import COMPARE, MEASURE, Agreement, Told, Verdict, averaged
from gact.precision.findings import Finding, Result, Totals
from gact.records import Site

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
SITE = Site("a", "linear")


def result(noise, energy=1.0, site=SITE):
    finding = Finding((8,), 1, 8, 1, 1.0, (noise,) * 8)
    return Result({site: finding}, energy, 3, Totals(64, 8), times={("a", "linear", 0, 0): (int(noise), 1)})


class Rank:
    """One rank, and what it would say."""

    def __init__(self, store, rank, world=3):
        self.agreement = Agreement(store, rank, world)
        self.wish, self.knows, self.refusal, self.number = "", "same", "", 0

    def step(self, number=None):
        self.number = self.number + 1 if number is None else number
        return self.agreement.begin_step(
            self.number, lambda: self.wish, lambda: self.knows, lambda asked: "" if asked else self.refusal
        )

    def tell(self, noise=1.0, failed=False):
        self.agreement.tell(Told(None if failed else result(noise), self.number, self.knows))


@pytest.fixture
def ranks():
    store = torch.distributed.HashStore()
    return [Rank(store, rank) for rank in range(3)]


def test_all_measure_in_the_step_after_the_last_has_answered(ranks):
    ranks[0].wish = MEASURE
    assert [each.step() for each in ranks] == [False] * 3  # the others see it in the same step: they come later
    assert [each.step() for each in ranks] == [True] * 3


def test_who_comes_first_to_a_step_answers_one_later_and_all_measure_together(ranks):
    ranks[2].wish = MEASURE
    assert [[each.step() for each in ranks] for _ in range(3)] == [[False] * 3, [False] * 3, [True] * 3]


def test_nobody_measures_while_one_has_no_steps(ranks):
    ranks[0].wish = MEASURE
    assert not any(each.step() for _ in range(200) for each in ranks[:2])
    assert ranks[0].agreement.waits(200) == 199
    assert not ranks[2].step(3)  # it comes at last, and the others begin in the step after the one they see it in
    assert [each.step() for each in ranks[:2]] == [True] * 2
    assert ranks[2].step()


def test_the_average_is_taken_up_by_all_once(ranks):
    ranks[0].wish = MEASURE
    for _ in range(2):
        assert [each.step() for each in ranks]
    for noise, each in enumerate(ranks, 1):
        assert each.agreement.verdict() is None
        each.tell(noise)
    verdicts = [each.agreement.verdict() for each in ranks]
    assert {next(iter(each.result.findings.values())).noise[0] for each in verdicts} == {2.0}
    assert all(each.result.times == {("a", "linear", 0, 0): (3, 1)} for each in verdicts)
    assert not any(each.parted for each in verdicts)
    assert [each.agreement.verdict() for each in ranks] == [None] * 3
    ranks[0].wish = ""
    assert not any(each.step() for each in ranks)
    for value, each in enumerate(ranks):
        each.agreement.offer(float(value), count=3)
    assert [each.agreement.mean(4) for each in ranks] == [None] * 3  # who is ahead might not see it yet
    assert [each.agreement.mean(5) for each in ranks] == [1.0] * 3
    assert [each.agreement.mean(6) for each in ranks] == [None] * 3


def test_a_step_that_measures_nothing_is_tried_again_less_and_less_often(ranks):
    ranks[0].wish = MEASURE
    assert not any(each.step() for each in ranks)
    tried = [ranks[0].step() for _ in range(20)]
    assert [number for number, each in enumerate(tried) if each] == [0, 1, 2, 4, 8, 16]


def test_one_that_refuses_ends_it_for_all_and_a_user_may_ask_again(ranks):
    ranks[0].wish, ranks[1].refusal = MEASURE, "its graph is gone"
    assert not any(each.step() for each in ranks)
    assert not any(each.step() for each in ranks)
    assert [each.agreement.refused() for each in ranks] == ["its graph is gone", "", "its graph is gone"]
    ranks[0].agreement.ask()
    assert not any(each.step() for each in ranks)
    assert all(each.step() for each in ranks)


def test_a_failure_of_one_is_one_of_all(ranks):
    ranks[0].wish = MEASURE
    for _ in range(2):
        assert [each.step() for each in ranks]
    for each in ranks:
        each.tell(failed=each is ranks[1])
    assert [each.agreement.verdict().result for each in ranks] == [None] * 3


@pytest.mark.parametrize("differs", [False, True])
def test_what_ranks_know_is_compared(ranks, differs):
    ranks[1].wish = COMPARE
    if differs:
        ranks[1].knows = "other"
    for _ in range(2):
        assert not any(each.step() for each in ranks)
        ranks[1].wish = ""
    assert [each.step() for each in ranks] == [differs] * 3
    if differs:
        for each in ranks:
            each.tell()
        assert all(each.agreement.verdict().parted for each in ranks)
    assert not any(each.agreement.is_open for each in ranks)


def test_ranks_that_count_differently_measure_all_the_same(ranks):
    ranks[0].wish, ranks[1].number, ranks[2].number = MEASURE, 50, 900
    measured = [{number for number in range(6) if each.step()} for each in ranks[::-1]]
    for _ in range(4):
        for each, steps in zip(ranks[::-1], measured, strict=True):
            if each.step():
                steps.add(each.number)
                each.tell()
    assert all(measured)
    assert {each.agreement.verdict().number for each in ranks} == {max(each.number for each in ranks) - 2}


def test_a_network_without_a_finite_gradient_on_one_rank_tells_nothing():
    assert math.isnan(averaged([result(1.0), result(1.0, math.inf)]).energy)


@pytest.mark.parametrize("parted", [False, True])
def test_who_measured_long_before_the_others_counts_on_as_before(parted):
    c = gact.Compressor(nn.Linear(8, 8))
    joint = c._controller
    joint.replicas.count, joint._told = 499, (result(1.0), 10)
    joint._accept(Verdict(result(1.0), 500, parted))
    assert joint.replicas.count == (989 if parted else 499)  # unless its count was somebody else's
    assert (joint.parted, len(joint.widths)) == (parted, 1)


class Lost:
    """A store whose other end is gone."""

    def __getattr__(self, name):
        raise ConnectionError("Broken pipe")


def test_without_a_store_training_goes_on(monkeypatch):
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8))
    monkeypatch.setattr(Replicas, "group", property(lambda self: self._given))
    monkeypatch.setattr("gact.precision.joint.store_for", lambda group, name: Lost())
    monkeypatch.setattr("gact.precision.joint.dist.get_rank", lambda group: 0)
    monkeypatch.setattr("gact.precision.joint.dist.get_world_size", lambda group: 2)
    group = type("Group", (), {"group_name": "0"})()
    c = gact.Compressor(model, min_bytes=0, process_group=group)

    def step():
        with c:
            loss = model(torch.randn(32, 64)).square().mean()
        loss.backward()

    step()
    with pytest.warns(gact.GactWarning, match="Broken pipe"):
        step()
    step()
    assert "the store of their process group fails" in c.report().unmeasured

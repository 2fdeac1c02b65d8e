"""Rules choose among the ways to hold a value, refuse to contradict each other, and say when they matched nothing."""

import pytest
import torch
from torch import nn

import gact
from gact import Rule


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8))


def rows(model, *rules, bits=4):
    c = gact.Compressor(model, bits=bits, min_bytes=0, rules=rules)
    with c:
        loss = model(torch.randn(64, 32)).square().mean()
    loss.backward()
    return {(row.module, row.op): row for row in c.report().rows}


def test_a_width_by_module_pattern(model):
    found = rows(model, Rule(module="2", op="lin*", bits=7))
    assert found["2", "linear"].bits == 7
    assert found["3", "tanh"].bits == 4


@pytest.mark.parametrize(
    "conditions",
    [
        {"op": "tanh"},
        {"module": "3"},
        {"op": "tanh", "dtype": torch.float32, "rank": 2, "min_numel": 64, "max_numel": 4096},
        {"where": lambda site, tensor: site.op == "tanh" and tensor.shape == (64, 64)},
    ],
    ids=["op", "module", "kind and size", "predicate"],
)
def test_every_condition_can_keep_a_tensor(model, conditions):
    found = rows(model, Rule(keep=True, **conditions))
    assert (found["3", "tanh"].codec, found["3", "tanh"].reason) == ("keep", "rule")
    assert found["2", "linear"].codec == "groups"


def test_least_and_most_widths(model):
    found = rows(model, Rule(op="tanh", min_bits=6), Rule(op="linear", max_bits=3))
    assert found["3", "tanh"].bits == 6
    assert found["2", "linear"].bits == 3


def test_a_rule_leaves_masks_exact(model):
    assert rows(model, Rule(bits=2))["1", "relu"].codec == "mask"


def test_everything_kept_by_rule_gives_the_gradient_of_plain_autograd(model):
    x = torch.randn(64, 32)
    model(x).square().mean().backward()
    exact = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with gact.Compressor(
        model,
        bits=2,
        min_bytes=0,
        rules=[Rule(op="linear", keep=True), Rule(op="tanh", keep=True), Rule(op="square", keep=True)],
    ):
        loss = model(x).square().mean()
    loss.backward()
    assert all(
        torch.equal(parameter.grad, gradient) for parameter, gradient in zip(model.parameters(), exact, strict=True)
    )


def test_rules_that_contradict_each_other_are_an_error_that_names_both(model):
    with pytest.raises(
        ValueError, match=r"contradict each other at 3: tanh\[0\]: Rule\(op='tanh', bits=2\) and Rule\(.*keep=True\)"
    ):
        rows(model, Rule(op="tanh", bits=2), Rule(module="3", keep=True))


def test_a_rule_that_matches_nothing_warns(model):
    with pytest.warns(UserWarning, match=r"Rule\(module='decoder\.\*', bits=2\) matched no saved tensor"):
        rows(model, Rule(module="decoder.*", bits=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs an action"),
        ({"bits": 9}, "bits must be a whole number from 1 to 8, got 9"),
        ({"bits": 2, "keep": True}, "takes one action"),
        ({"min_bits": 6, "max_bits": 2}, "min_bits must not exceed max_bits, got 6 and 2"),
    ],
    ids=["no action", "width", "two actions", "empty range"],
)
def test_bad_rules_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Rule(**arguments)


def test_rules_must_be_rules(model):
    with pytest.raises(TypeError, match=r"rules must be gact\.Rule objects, got str"):
        gact.Compressor(model, rules=["linear"])

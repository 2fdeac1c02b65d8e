"""Predicted noise against measured noise, and sharing in groups against one site at a time."""

import math

import pytest
import torch
from torch import nn

from cases import NETWORKS
from gact.measuring import Measuring
from gact.precision.comparison import Comparison, draw, table
from training import clone, compressor, gradient, random_states, step


def distance(model, x):
    """From a fixed vector: the square of what layer norm returns would hardly have a gradient."""
    output = model(x)
    return (output - torch.arange(output.shape[-1]).sin()).square().mean()


def measured_noise(c, model, x, count=24):
    """Mean of |g - g0|^2 / |g0|^2 over steps, with g0 of plain autograd."""
    twin = clone(model)
    twin.zero_grad()
    distance(twin, x).backward()
    exact, noise = gradient(twin), 0.0
    for _ in range(count):
        model.zero_grad()
        step(c, model, x, distance)
        noise += float((gradient(model) - exact).square().sum() / exact.square().sum()) / count
    return noise


@pytest.mark.parametrize("name", ["perceptron", "convolutional", "transformer", "recurrent"])
def test_the_predicted_noise_is_that_of_the_gradients(name):
    model, x = NETWORKS[name].build(), NETWORKS[name].inputs()
    model.train(name == "convolutional")  # without dropout, which differs from step to step
    c = compressor(model, bits=4)
    for _ in range(2):
        step(c, model, x, distance)
    assert c._controller.noise == pytest.approx(measured_noise(c, model, x), rel=0.4)  # from one sample


def averaged(model, x, seeds=10):
    """Predicted and measured noise of each site, each averaged over seeds: one measurement is one random sample."""
    noise = {}
    for seed in range(seeds):
        c = compressor(model, bits=3, seed=seed)
        for each in c.predicted_against_measured(lambda: distance(model, x), rounds=2):
            predicted, measured = noise.get(str(each.site), (0.0, 0.0))
            noise[str(each.site)] = (predicted + each.predicted / seeds, measured + each.measured / seeds)
    return noise


OVERRATED = pytest.mark.xfail(
    reason="attention is run again on the queries and keys of a norm's input: what its rounding does is predicted 2.9 "
    "times as large as it is, which costs bits and no gradient",
    strict=True,
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=OVERRATED) if name == "transformer" else name for name in NETWORKS]
)
def test_each_site_is_near_what_it_does_alone(name):
    model, x = NETWORKS[name].build().eval(), NETWORKS[name].inputs()
    noise = averaged(model, x)
    predicted, together = noise.pop("None")
    assert predicted == pytest.approx(together, rel=0.3)
    for predicted, measured in noise.values():
        if measured > 0.05 * together:
            assert 0.5 < predicted / measured < 2


def findings(model, x, exhaustive, loss=distance):
    c = compressor(model, bits=2, derive=False, estimator="exhaustive" if exhaustive else "grouped")
    c._controller.is_used = True
    step(c, model, x, loss)
    return {str(site): finding.noise[1] for site, finding in c._controller.findings.items()}, c._controller.passes


def chain(depth):
    """Linear layers in a row: the backward of each reads its input for its own weight's gradient and nothing else."""
    return nn.Sequential(*[nn.Linear(48, 48) for _ in range(depth)])


@pytest.mark.parametrize("depth", [2, 7, 20])
def test_first_hand_noise_is_told_apart(depth):
    model, x = chain(depth), torch.randn(64, 48).requires_grad_() * 1
    grouped, few = findings(clone(model), x.detach(), False, lambda m, x: m(x).sum())
    alone, many = findings(clone(model), x.detach(), True, lambda m, x: m(x).sum())
    assert set(grouped) == set(alone)
    for site, noise in alone.items():
        assert grouped[site] == pytest.approx(noise, rel=0.5)  # one sample each
    assert few <= 1 + 6 < many + 6
    assert many == 1 + len(alone)


@pytest.mark.parametrize("depth", [4, 16])
def test_passes_do_not_grow_with_depth(depth):
    model = nn.Sequential(*[nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.LayerNorm(32)) for _ in range(depth)])
    grouped, passes = findings(model, torch.randn(64, 32), False)
    assert len(grouped) >= depth
    assert passes <= 24


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_add_up_to_single_sites(name):
    model, x = NETWORKS[name].build().eval(), NETWORKS[name].inputs()
    grouped, _ = findings(clone(model), x, False)
    alone, _ = findings(clone(model), x, True)
    assert set(grouped) == set(alone)
    assert sum(grouped.values()) == pytest.approx(sum(alone.values()), rel=0.5)
    for site, noise in alone.items():
        if noise > 0.1 * sum(alone.values()):
            assert 0.4 < grouped[site] / noise < 2.5


def test_a_comparison_changes_nothing():
    model, x = NETWORKS["perceptron"].build().eval(), torch.randn(16, 32)
    c = compressor(model)
    step(c, model, x, distance)
    before, states, state = gradient(model), random_states(), c.state_dict()
    c.predicted_against_measured(lambda: distance(model, x), rounds=1)
    assert torch.equal(gradient(model), before)
    assert (random_states(), c.state_dict()) == (states, state)


def test_a_comparison_of_nothing_is_refused():
    model = nn.Linear(4, 4)
    c = compressor(model, min_bytes=1 << 20)
    refused = pytest.raises(ValueError, match=r"reads no compressed tensor whose width.*under 1048576 bytes")
    with pytest.warns(UserWarning, match="compressed nothing"), refused:
        c.predicted_against_measured(lambda: distance(model, torch.randn(8, 4)))
    with pytest.raises(ValueError, match="rounds must be a whole number of at least 1, got 0"):
        c.predicted_against_measured(lambda: distance(model, torch.randn(8, 4)), rounds=0)


def test_the_table_and_the_picture_show_every_site(tmp_path):
    pytest.importorskip("matplotlib")
    model, x = NETWORKS["perceptron"].build().eval(), torch.randn(16, 32)
    compared = compressor(model).predicted_against_measured(lambda: distance(model, x), rounds=1)
    lines = table(compared).splitlines()
    assert len(lines) == len(compared) + 1
    assert lines[-1].startswith("all together")
    draw(compared, tmp_path / "scatter.svg")
    picture = (tmp_path / "scatter.svg").read_text()
    assert f"{len(compared) - 1} sites" in picture or "PathCollection" in picture


def test_ratios_of_zero():
    assert Comparison(None, 0, 0.0, 0.0).ratio == 1
    assert math.isinf(Comparison(None, 0, 1.0, 0.0).ratio)


def test_the_passes_that_compare_measure_nothing_themselves(monkeypatch):
    model, x = NETWORKS["perceptron"].build(), NETWORKS["perceptron"].inputs()
    monkeypatch.setattr(Measuring, "_measure", lambda *arguments: pytest.fail("a pass of our own was measured"))
    assert len(compressor(model, bits=3).predicted_against_measured(lambda: distance(model, x), rounds=1)) > 1

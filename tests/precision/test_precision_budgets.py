"""Budgets hold in ordinary steps with plain backward passes; those that cannot be held are warned of with figures."""

import logging

import pytest
import torch
from torch import nn

import gact
from training import compressor, passes, widths


def perceptron():
    return nn.Sequential(
        *[nn.Sequential(nn.LayerNorm(96), nn.Linear(96, 96), nn.GELU()) for _ in range(6)], nn.Linear(96, 8)
    )


def convolutional():
    layers = [nn.Conv2d(3, 16, 3, padding=1)]
    for _ in range(6):
        layers += [nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def transformer():
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)


NETWORKS = {
    "perceptron": (perceptron, (256, 96)),
    "convolutional": (convolutional, (8, 3, 16, 16)),
    "transformer": (transformer, (8, 32, 64)),
}


def steps(c, model, size, count=6):
    """Bytes held in each step."""
    generator, held = torch.Generator().manual_seed(1), []
    for _ in range(count):
        with c:
            result = model(torch.randn(size, generator=generator))
            loss = (result - torch.randn(result.shape, generator=generator)).square().mean()
        held.append(c.report().kept_bytes)
        loss.backward()
        model.zero_grad()
    return held


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_budgets_hold(network):
    make, size = network
    free = compressor(make(), bits=4)
    held = steps(free, free._model, size)
    plain = free.report().plain_bytes
    assert passes(free) > 1
    for budget in (held[-1], int(0.8 * held[-1])):
        for options in ({"memory": budget}, {"ratio": plain / budget}):
            torch.manual_seed(0)
            model = make()
            c = compressor(model, **options)
            found = steps(c, model, size)
            assert max(found[2:]) <= 1.02 * budget
            assert min(found[2:]) >= 0.8 * budget
            assert not c.report().over_budget
    c = compressor(make(), max_noise=0.05)
    steps(c, c._model, size)
    report = c.report()
    assert report.noise <= 1.02 * 0.05 * report.batch_variance
    assert len(set(widths(c).values())) > 1


def test_a_budget_out_of_reach_is_a_warning_with_figures():
    model = perceptron()
    c = compressor(model, ratio=100.0)
    with pytest.warns(
        gact.GactWarning, match=r"cannot reach ratio=100, [\d.]+ MiB of [\d.]+ MiB.* [\d.]+x smaller"
    ) as told:
        held = steps(c, model, (256, 96))
    assert len([each for each in told if "cannot reach" in str(each.message)]) == 1
    assert c.report().over_budget
    reached = c._controller.reach.ratio
    assert f"{reached:.3g}x smaller" in str(told[0].message)
    assert c.report().plain_bytes / held[-1] == pytest.approx(reached, rel=0.02)


def test_high_noise_is_a_warning():
    model = perceptron()
    c = compressor(model, bits=1)
    with pytest.warns(gact.GactWarning, match=r"predicts gradient noise .* of [\d.e+]+ at the widths in use"):
        steps(c, model, (256, 96))


def test_a_measurement_is_a_line_in_the_log(caplog):
    model = perceptron()
    c = compressor(model)
    with caplog.at_level(logging.INFO, "gact"):
        steps(c, model, (256, 96), count=4)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "gact"]
    assert line.startswith(f"step 2: {passes(c)} backward passes measured {len(widths(c))} sites; widths from ")
    assert line.endswith("predicted")

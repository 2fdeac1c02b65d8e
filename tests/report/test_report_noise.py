"""What the report tells of measurements: as data, table, JSON and HTML."""

import json

import pytest
import torch
from torch import nn

import gact


def report(count, **options):
    model = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(3)], nn.Linear(64, 8))
    c = gact.Compressor(model, min_bytes=0, **options)
    for _ in range(count):
        with c:
            loss = model(torch.randn(128, 64)).square().mean()
        c.backward(loss)
    return c.report()


@pytest.mark.parametrize("options", [{"adaptive": False}, {}], ids=["uniform", "not yet measured"])
def test_without_a_measurement_nothing_is_told(options):
    before = report(1, **options)
    assert (before.noise, before.batch_variance, before.noise_ratio, before.passes) == (None, None, None, 0)
    assert {row.noise_share for row in before.rows} == {None}
    assert "noise" not in str(before)
    assert "noise" not in before.to_html()
    assert json.loads(before.to_json())["noise"] is None


def test_shares_add_up_to_the_whole():
    after = report(3, bits=3)
    shares = [row.noise_share for row in after.rows if row.noise_share is not None]
    assert len(shares) > 2
    assert sum(shares) == pytest.approx(1)
    assert after.noise > 0
    assert after.noise_ratio == after.noise / after.batch_variance


def test_table_json_and_page_say_the_same():
    after = report(3, bits=3)
    data = json.loads(after.to_json())
    assert data["noise"] == after.noise
    assert data["noise_ratio"] == after.noise_ratio
    assert data["passes"] == after.passes > 1
    assert [row["noise_share"] for row in data["rows"]] == [row.noise_share for row in after.rows]
    line = f"gradient noise {after.noise:.1e} predicted, {after.noise_ratio:.2g} of the variance"
    for text in (str(after), after.to_html()):
        assert line in text
        assert f"{after.passes} backward passes" in text
        assert "noise %" in text
        assert "OVER BUDGET" not in text


def test_a_budget_that_is_exceeded_is_told():
    after = report(3, memory=1000)
    assert after.over_budget
    assert "OVER BUDGET: widths take more than was asked for" in str(after)
    assert json.loads(after.to_json())["over_budget"] is True


def test_before_a_second_batch_the_variance_is_not_known():
    after = report(2)
    assert after.batch_variance is None
    assert after.noise_ratio is None
    assert "from batch to batch" not in str(after)


def test_the_noisiest_parameters_are_named():
    after = report(3, bits=2)
    names = [f"{block}.0.{kind}" for block in range(3) for kind in ("weight", "bias")] + ["3.weight", "3.bias"]
    assert {name for name, *_ in after.parameters} <= set(names)
    noise = [each for _, each, _ in after.parameters]
    assert noise == sorted(noise, reverse=True)
    assert len(noise) == len(names)
    whole = sum(noise * share for _, noise, share in after.parameters)
    assert whole == pytest.approx(after.noise, rel=1e-3)
    for text in (str(after), after.to_html()):
        assert "noisiest parameters" in text
        assert all(f"{noise:.1e}" in text for _, noise, _ in after.parameters)
    assert json.loads(after.to_json())["parameters"] == [list(each) for each in after.parameters]
    assert "noisiest" not in str(report(1))


def test_a_parameter_that_nobody_names_is_told_by_its_shape():
    weight = nn.Parameter(torch.randn(64, 64) / 8)
    c = gact.Compressor(min_bytes=0, bits=2)
    for _ in range(3):
        with c:
            loss = (torch.tanh(torch.randn(128, 64) @ weight) @ weight).square().mean()
        c.backward(loss)
    assert [name for name, *_ in c.report().parameters] == ["[64, 64]"]


def test_a_report_of_a_measured_step_says_so():
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8))
    c = gact.Compressor(model, min_bytes=0, bits=3)
    found = []
    for _ in range(3):
        with c:
            loss = model(torch.ones(128, 64)).square().mean()
        found.append(c.report())
        c.backward(loss)
    assert [each.measured for each in found] == [False, True, False]
    assert found[1].kept_bytes > found[0].kept_bytes
    for each in found:
        assert ("sensitivities were measured in this step" in str(each)) == each.measured
        assert ("sensitivities were measured in this step" in each.to_html()) == each.measured
        assert json.loads(each.to_json())["measured"] == each.measured

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

"""Advice: what is not as a user would want it, with what to do, on top of every output."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import gact
from gact.precision.known import Known
from gact.report.advice import advice_on
from gact.report.rows import Figures

pytestmark = pytest.mark.filterwarnings("ignore:gact compressed nothing")


def network(width=64):
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 8))


def report(model, x, steps=1, **options):
    c = gact.Compressor(model, **{"min_bytes": 0, **options})
    for _ in range(steps):
        with c:
            result = model(x)
            loss = (result[0] if isinstance(result, tuple) else result).square().mean()
        loss.backward()
        del loss, result
    return c.report()


def codes(told):
    return [each.code for each in told.advice]


def test_there_is_none_where_all_is_well():
    assert codes(report(network(), torch.randn(512, 64))) == []


def test_before_the_first_step_there_is_none():
    assert gact.Compressor(network()).report().advice == ()


def test_small_tensors_and_why_little_is_covered():
    told = report(network(), torch.randn(512, 64), min_bytes=1 << 20)
    assert codes(told)[:2] == ["coverage", "small"]
    coverage, small, *_ = told.advice
    assert coverage.text.startswith("100 % of the bytes are held as they were:")
    assert "MiB small" in coverage.text
    assert "smaller min_bytes" in small.remedy


def test_a_budget_that_is_not_met_and_noise():
    model = network()
    with pytest.warns(gact.GactWarning):
        told = report(model, torch.randn(512, 64), steps=3, ratio=1000.0)
    assert "budget" in codes(told)
    (budget,) = [each for each in told.advice if each.code == "budget"]
    assert f"({told.ratio:.3g}x smaller)" in budget.text


def test_high_noise():
    model = nn.Sequential(*[nn.Sequential(nn.LayerNorm(96), nn.Linear(96, 96), nn.GELU()) for _ in range(6)])
    with pytest.warns(gact.GactWarning):
        told = report(model, torch.randn(256, 96), steps=3, bits=1)
    (noise,) = [each for each in told.advice if each.code == "noise"]
    assert f"{told.noise:.2g} is predicted" in noise.text


def test_where_weights_are_what_takes_memory():
    told = report(nn.Sequential(nn.Linear(1024, 1024), nn.Tanh(), nn.Linear(1024, 1024)), torch.randn(8, 1024))
    (peak,) = [each for each in told.advice if each.code == "peak"]
    assert "weights and their gradients take 16.0 MiB" in peak.text
    assert "Training would fit without gact" in peak.text
    assert peak.remedy.startswith("Train without gact")


def test_more_is_held_than_by_plain_training():
    model = network()
    rows = tuple(replace(row, plain_bytes=1) for row in report(model, torch.randn(512, 64)).rows)
    (peak,) = [
        each for each in advice_on(Figures(rows), Known(gact.Compressor()._settings), model) if each.code == "peak"
    ]
    assert peak.text.startswith("gact holds 0.")
    assert "MiB more than plain where weights" in peak.text
    assert "the peak is not lower" in peak.text


def test_steps_of_two_kinds_share_one_ratio():
    torch.manual_seed(0)
    model = nn.ModuleDict({"large": network(128), "small": nn.Sequential(nn.Linear(64, 64), nn.Softmax(1))})
    inputs = {"large": torch.randn(512, 128), "small": torch.randn(256, 64)}
    c = gact.Compressor(model, ratio=9.0, min_bytes=0)
    told = {}
    for _ in range(6):
        for name, x in inputs.items():
            with c:
                loss = model[name](x).square().sum()
            loss.backward()
            told[name] = c.report()
    assert told["large"].ratio >= 9.0
    assert "budget" not in {each.code for each in told["large"].advice}
    assert told["small"].ratio < 9.0
    (budget,) = [each for each in told["small"].advice if each.code == "budget"]
    assert budget.text.startswith(f"this step is held {told['small'].ratio:.3g}x smaller, and 9x was asked for")


def test_fused_recurrent_kernels():
    told = report(nn.LSTM(64, 64, batch_first=True), torch.randn(16, 32, 64))
    (recurrent,) = [each for each in told.advice if each.code == "recurrent"]
    assert recurrent.remedy.startswith("On a CPU, torch.backends.mkldnn.flags(enabled=False)")


def test_fused_recurrent_kernels_can_be_run_again():
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.LSTM(64, 64, batch_first=True) for _ in range(2)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = layer(x)[0]
            return x

    torch.manual_seed(0)
    model, x = Network(), torch.randn(64, 32, 64)
    told = report(model, x)
    (recurrent,) = [each for each in told.advice if each.code == "recurrent"]
    assert recurrent.remedy.startswith('checkpoint=["layers.*"] runs the kernel again')
    again = gact.Compressor(model, bits=4, checkpoint=["layers.*"])
    with again:
        loss = model(x).square().sum()
    loss.backward()
    assert again.report().kept_bytes * 5 < told.kept_bytes
    assert "recurrent" not in {each.code for each in again.report().advice}


def test_compiled_code_that_nothing_tells_about():
    kept = gact.Row("", "compiled", 0, 0, "keep", 0, 1, 0, 1 << 20, 1 << 20, "compiled")
    coded = replace(kept, op="linear", codec="groups", bits=4, kept_bytes=1 << 17, reason="")
    told = advice_on(Figures((kept, coded, coded)), Known(gact.Compressor()._settings), None)
    assert [each.code for each in told] == ["compiled"]
    assert told[0].text.startswith("1.00 of 3.00 MiB are saved by compiled code")


def test_what_cannot_be_measured(monkeypatch):
    import torch.distributed.fsdp as fsdp

    class Sharded(nn.Sequential):
        pass

    monkeypatch.setattr(fsdp, "FSDPModule", Sharded, raising=False)
    with pytest.warns(gact.GactWarning, match="could not measure"):
        told = report(Sharded(*network()), torch.randn(512, 64), steps=2)
    (unmeasured,) = [each for each in told.advice if each.code == "unmeasured"]
    assert told.unmeasured in unmeasured.text


def test_it_stands_on_top_of_every_output():
    told = report(network(), torch.randn(512, 64), min_bytes=1 << 20)
    first = f"coverage: {told.advice[0].text} {told.advice[0].remedy}"
    assert str(told.advice[0]) == first
    assert " ".join(str(told).split()).startswith(first)
    assert next(iter(json.loads(told.to_json()).items())) == ("advice", [list(each) for each in told.advice])
    page = told.to_html()
    assert page.index("report() names the places") < page.index("saved for backward")

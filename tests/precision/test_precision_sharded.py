"""Sharded parameters are not measured, since their hooks allow for one backward pass; gradients are those of priors."""

import pytest
import torch
from test_precision_distributed import run
from torch import nn

import gact
from gact.precision.graph import Roots
from gact.precision.refusal import check_graph, refused_by_model
from training import compressor, square, step

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
WAYS = {"fully_shard": "fully_shard", "sharded": "FullyShardedDataParallel"}


@pytest.mark.parametrize(("way", "name"), WAYS.items(), ids=WAYS)
def test_two_ranks_with_sharded_parameters(way, name, tmp_path):
    known, unknown, uniform = run(tmp_path, *(f"{way} {each}" for each in ("known", "unknown", "uniform"))).values()
    for rank in range(2):
        assert known[rank]["failure"] == unknown[rank]["failure"] != ""
        assert known[rank]["failure"].startswith(f"{name} shards the parameters")
        assert known[rank]["failure"] in known[rank]["report"]
        assert known[rank]["widths"] == unknown[rank]["widths"] == 0
        assert known[rank]["gradient"] == uniform[rank]["gradient"]
        assert uniform[rank]["failure"] == ""
        assert known[rank]["finest"] == uniform[rank]["finest"] == [4] * 4  # no finer codes for nothing
        assert unknown[rank]["finest"] == [4, 6, 4, 4]
        ours, theirs = (torch.tensor(each[rank]["gradient"]) for each in (unknown, known))
        assert (ours - theirs).norm() < 0.1 * theirs.norm()  # rounded otherwise, since paths of modules are not known
    assert sum(len(each["gradient"]) for each in known) >= known[0]["elements"]


class Sharded(nn.Sequential):
    """Stands for a module of a class that shards."""


def pretend(monkeypatch):
    import torch.distributed.fsdp as fsdp

    monkeypatch.setattr(fsdp, "FSDPModule", Sharded, raising=False)
    return Sharded(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 8))


def test_the_report_and_a_warning_give_the_reason(monkeypatch):
    model, x = pretend(monkeypatch), torch.randn(64, 32)
    c = compressor(model)
    step(c, model, x)
    with pytest.warns(UserWarning, match="could not measure sensitivities.*fully_shard shards the parameters"):
        step(c, model, x)
    for _ in range(3):
        step(c, model, x)
    report = c.report()
    assert (report.passes, report.noise) == (0, None)
    assert report.unmeasured.startswith("fully_shard shards")
    for text in (str(report), report.to_json(), report.to_html()):
        assert report.unmeasured in text
    assert "sensitivities are not measured, widths stay as they are" in str(report)


def test_what_asks_for_a_measurement_is_refused(monkeypatch):
    model, x = pretend(monkeypatch), torch.randn(64, 32)
    c = compressor(model)
    with pytest.raises(ValueError, match="sensitivities cannot be measured: fully_shard shards the parameters"):
        c.measure_next()
    with pytest.raises(ValueError, match="sensitivities cannot be measured"):
        c.predicted_against_measured(lambda: square(model, x))


def test_fixed_widths_need_no_measurement_and_no_warning(monkeypatch, recwarn):
    model, x = pretend(monkeypatch), torch.randn(64, 32)
    step(compressor(model, bits=4, adaptive=False), model, x)
    assert not recwarn.list


def test_ordinary_networks_are_not_refused():
    model, x = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 8)), torch.randn(64, 32)
    assert refused_by_model(model) == refused_by_model(None) == ""
    check_graph(Roots.alone(square(model, x)))
    check_graph(Roots.alone(torch.zeros((), requires_grad=True)))


def test_nothing_is_imported_to_find_out():
    import subprocess
    import sys

    code = (
        "import sys, torch, gact\n"
        "model = torch.nn.Linear(64, 64); c = gact.Compressor(model, min_bytes=0)\n"
        "for _ in range(3):\n"
        "    with c: loss = model(torch.randn(64, 64)).square().mean()\n"
        "    c.backward(loss)\n"
        "assert c.report().passes > 1\n"
        "sys.exit('torch.distributed.fsdp' in sys.modules)"
    )
    assert gact.__name__ in code
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

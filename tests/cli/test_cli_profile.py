"""``gact profile`` as a user calls it."""

import json

import pytest
from typer.testing import CliRunner

from gact.cli import profile
from gact.cli.app import app

runner = CliRunner()

MODULE = """
import torch
from torch import nn
def build():
    blocks = [nn.Sequential(nn.Linear(64, 256), nn.Sigmoid(), nn.Linear(256, 64)) for _ in range(4)]
    return nn.Sequential(*blocks), torch.randn(512, 64), lambda model, x: model(x).square().mean()
def pairs():
    return nn.Bilinear(8, 8, 1), (torch.randn(64, 8), torch.randn(64, 8)), lambda model, xs: model(*xs).mean()
def no_loss():
    return nn.Linear(4, 4), torch.randn(2, 4)
"""


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    (tmp_path / "made_for_profiles.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def here(monkeypatch):
    """Runs what is profiled in this process."""
    monkeypatch.setattr(profile, "_apart", profile.profiled)


def test_the_table_what_set_the_peaks_and_the_page(tmp_path):
    page = tmp_path / "memory.html"
    result = runner.invoke(app, ["profile", "made_for_profiles:build", "--html", str(page)])
    assert result.exit_code == 0, result.output
    for text in ("plain", "4 bits", "forward", "backward", "after", "peak", "alive at the peak", "gact.quantize"):
        assert text in result.output
    assert result.output.count("live tensors: peak") == 2
    assert f"page: {page}" in result.output
    assert "\x1b" not in result.output
    text = page.read_text()
    assert text.count("<svg") == 2
    assert "<h2>plain</h2>" in text
    assert "<h2>4 bits</h2>" in text
    assert "<script" not in text


@pytest.mark.usefixtures("here")
def test_json_has_both_profiles_and_compression_lowers_the_peak():
    result = runner.invoke(app, ["profile", "made_for_profiles:build", "--json", "--bits", "2"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert list(data) == ["plain", "2 bits"]
    assert data["2 bits"]["phase_peaks"]["forward"] < 0.7 * data["plain"]["phase_peaks"]["forward"]
    assert data["plain"]["peak_bytes"] == max(sample["live_bytes"] for sample in data["plain"]["samples"])


@pytest.mark.parametrize("bits", [None, 4])
def test_the_optimizer_counts_unless_it_is_left_out(bits):
    parameters = 4 * (64 * 256 + 256 + 256 * 64 + 64) * 4
    with_state, without = (profile.profiled("made_for_profiles:build", bits, each) for each in (True, False))
    assert with_state.start_bytes - without.start_bytes == pytest.approx(2 * parameters, rel=0.01)
    assert "after" in with_state.phase_peaks


def test_a_batch_of_two_tensors_counts_from_the_start():
    found = profile.profiled("made_for_profiles:pairs", None, False)
    assert found.start_bytes == 4 * (2 * 64 * 8 + 8 * 8 + 1)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["made_for_profiles"], "must be named as package.module:function"),
        (["made_for_profiles:none"], "has no function 'none'"),
        (["made_for_profiles:no_loss"], "needs a loss"),
        (["made_for_profiles:build", "--html", "nowhere/memory.html"], "choose another --html."),
    ],
)
def test_what_is_wrong_is_said_in_words(arguments, words):
    result = runner.invoke(app, ["profile", *arguments])
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output

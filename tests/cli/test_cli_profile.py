"""``gact profile`` as a user calls it."""

import json
import sys

import pytest
from typer.testing import CliRunner

from gact.cli import profile
from gact.cli.app import app
from gact.cli.script import run_script
from pages import Page

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
    monkeypatch.setattr(profile, "_apart", lambda run, *arguments: run(*arguments))


def test_the_table_what_set_the_peaks_and_the_page(tmp_path):
    page = tmp_path / "memory.html"
    result = runner.invoke(app, ["profile", "made_for_profiles:build", "--html", str(page)])
    assert result.exit_code == 0, result.output
    for text in ("plain", "4 bits", "forward", "backward", "after", "peak", "alive at the peak", "gact.quantize"):
        assert text in result.output
    assert result.output.count("live tensors: peak") == 2
    assert f"page: {page}" in result.output
    assert "\x1b" not in result.output
    told = Page(page.read_text())
    for text in (
        "gact profile: made_for_profiles:build",
        "peak, plain",
        "peak, 4 bits",
        "Sequential, 132,352 parameters",
    ):
        assert text in told.text


@pytest.mark.usefixtures("here")
def test_json_has_both_profiles_and_compression_lowers_the_peak():
    result = runner.invoke(app, ["profile", "made_for_profiles:build", "--json", "--bits", "2"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert list(data) == ["plain", "2 bits", "report"]
    report = data["report"]
    assert report["plain_bytes"] > 2 * report["kept_bytes"] > 0
    assert sum(row["kept_bytes"] for row in report["rows"]) == report["kept_bytes"]
    assert data["2 bits"]["phase_peaks"]["forward"] < 0.7 * data["plain"]["phase_peaks"]["forward"]
    assert data["plain"]["peak_bytes"] == max(sample["live_bytes"] for sample in data["plain"]["samples"])


@pytest.mark.parametrize("bits", [None, 4])
def test_the_optimizer_counts_unless_it_is_left_out(bits):
    parameters = 4 * (64 * 256 + 256 + 256 * 64 + 64) * 4
    with_state, without = (profile.profiled("made_for_profiles:build", bits, each).profile for each in (True, False))
    assert with_state.start_bytes - without.start_bytes == pytest.approx(2 * parameters, rel=0.01)
    assert "after" in with_state.phase_peaks


def test_a_batch_of_two_tensors_counts_from_the_start():
    found = profile.profiled("made_for_profiles:pairs", None, False).profile
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


SCRIPT = """
import argparse
import torch
from torch import nn
import beside
parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=50)
parser.add_argument("--bits", default="")
options = parser.parse_args()
model = nn.Sequential(*[nn.Sequential(nn.Linear(64, 256), nn.Sigmoid(), nn.Linear(256, 64)) for _ in range(4)])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
with torch.no_grad():
    model(torch.randn(2, 64))
for step in range(options.steps):
    print("step", step, options.bits, beside.WORD)
    loss = model(torch.randn(512, 64)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
assert options.steps < 50, "it is ended before"
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "beside.py").write_text("WORD = 'beside'")
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return str(path)


def test_a_script_as_it_is(script, tmp_path):
    page = tmp_path / "memory.html"
    arguments = ["profile", "--bits", "2", "--html", str(page), script, "--steps", "50", "--bits", "its own"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for text in ("plain", "2 bits", "alive at the peak", "gact.quantize", "what the compressed step kept", "smaller"):
        assert text in result.output
    assert "peak, 2 bits" in Page(page.read_text()).text


def test_what_a_scripts_steps_hold(script):
    plain, compressed = (run_script(script, ["--steps", "9"], bits) for bits in (None, 2))
    assert plain.report is None
    assert "of the bytes" in str(compressed.report)
    assert compressed.profile.phase_peaks["forward"] < 0.7 * plain.profile.phase_peaks["forward"]
    parameters = 4 * (64 * 256 + 256 + 256 * 64 + 64) * 4
    assert plain.profile.start_bytes >= 2 * parameters  # with momentum


def test_a_script_prints_to_the_standard_error(script, capsys):
    run_script(script, [], None)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "step 3  beside" in printed.err
    assert "step 4" not in printed.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import torch", "called no optimizer.step()"),
        (SCRIPT.replace("options.steps)", "2)"), "took 2 step(s)"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
)
def test_a_script_that_does_not_come_to_four_steps(tmp_path, text, words):
    (tmp_path / "beside.py").write_text("WORD = ''")
    path = tmp_path / "short.py"
    path.write_text(text)
    assert words in run_script(str(path), ["--steps", "3"], None).failure


def test_a_scripts_own_error_is_shown_from_the_script_on(tmp_path):
    path = tmp_path / "fails.py"
    path.write_text("def inner():\n    return 1 / 0\ninner()\n")
    told = run_script(str(path), [], None).failure
    assert "ZeroDivisionError" in told
    assert "inner()" in told
    assert "runpy" not in told


@pytest.mark.usefixtures("here")
def test_no_such_script():
    result = runner.invoke(app, ["profile", "missing.py"])
    assert result.exit_code == 1
    assert "there is no script missing.py" in result.output


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr("sys.argv", [*sys.argv])
    monkeypatch.setattr("sys.path", [*sys.path])
    yield
    sys.modules.pop("beside", None)

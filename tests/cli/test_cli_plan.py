"""``gact plan`` and ``gact bench max-batch`` as a user calls them."""

import json
import re
import sys
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gact
from gact.cli.app import app

runner = CliRunner()

MODULE = """
import torch
from torch import nn
def build(batch=64):
    blocks = [nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)) for _ in range(3)]
    return nn.Sequential(*blocks), torch.randn(batch, 64, 64), lambda model, x: model(x).sum()
def no_loss():
    return nn.Linear(4, 4), torch.randn(2, 4)
def fails():
    return undefined_name
class Steep(nn.Linear):
    def forward(self, x):
        return super().forward(x) @ torch.randn(3, 3)
def wrong_shapes():
    return Steep(4, 4), torch.randn(2, 4)
"""


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    (tmp_path / "made_for_plans.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_plan_prints_a_table_and_the_choice():
    result = runner.invoke(app, ["plan", "made_for_plans:build", "--memory", "20 MiB"])
    assert result.exit_code == 0, result.output
    for text in ("batch 64", "L0", "checkpointing", "L1", "CB1", "largest batch", "choice: ", "memory 20 MiB"):
        assert text in result.output
    assert "\x1b" not in result.output


def test_plan_without_memory_predicts_only():
    result = runner.invoke(app, ["plan", "made_for_plans:build", "--no-sizes"])
    assert result.exit_code == 0, result.output
    assert "no memory was given" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["made_for_plans"], "must be named as package.module:function"),
        (["made_for_plans:none"], "has no function 'none'"),
        (["made_for_plans:no_loss"], "backward needs a loss"),
        (["made_for_plans:build", "--memory", "much"], "memory must be a number of bytes"),
        (["made_for_plans:build", "--device", "K80"], "device must be one of"),
        (["made_for_plans:build", "--device", "T4", "--memory", "1 GiB"], "pass either memory or device"),
        (["made_for_plans:build", "--memory", "1 GiB", "--offload", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_plan_says_in_words_what_is_wrong(arguments, words):
    result = runner.invoke(app, ["plan", *arguments])
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_plan_ends_with_what_to_write():
    found = {}
    for memory in ("1 MiB", "20 MiB", "4 GiB"):
        result = runner.invoke(app, ["plan", "made_for_plans:build", "--memory", memory, "--no-sizes"])
        found[memory] = result.stdout.splitlines()[-1]
    assert found["4 GiB"] == "use: plain training, which fits"
    assert found["20 MiB"].startswith(("use: gact.Compressor", "use: gact.Plan.load"))
    assert found["1 MiB"] == "use: more memory, or a smaller model"


def test_a_plan_is_saved_and_printed_as_json(tmp_path):
    path = tmp_path / "plan.json"
    arguments = ["plan", "made_for_plans:build", "--memory", "40 MiB", "--no-sizes", "--json", "--save", str(path)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data == json.loads(path.read_text())
    plan = gact.Plan.load(path)
    assert (plan.choice, plan.use) == (data["choice"], data["use"])
    result = runner.invoke(app, [*arguments[:-1], str(tmp_path / "nowhere" / "plan.json")])
    assert result.exit_code == 1
    assert "nowhere" in result.stderr


def test_only_the_users_lines_of_a_failure_are_shown():
    for factory, error, line in (
        ("fails", "NameError: name 'undefined_name' is not defined", "return undefined_name"),
        ("wrong_shapes", "RuntimeError: ", "@ torch.randn(3, 3)"),
    ):
        result = runner.invoke(app, ["plan", f"made_for_plans:{factory}"])
        assert result.exit_code == 1
        assert error in result.stderr
        assert line in result.stderr
        files = re.findall('File "([^"]*)"', result.stderr)
        assert [Path(name).name for name in files] == ["made_for_plans.py"]


def test_the_factory_of_the_help_runs(tmp_path):
    found = []
    for command in (["plan"], ["profile"], ["bench", "max-batch"]):
        told = runner.invoke(app, [*command, "--help"], env={"COLUMNS": "100"}).stdout
        found.append(textwrap.dedent(told[told.index(" def factory") : told.index(" A loss_fn may")]))
    code, *others = found
    assert others == [code, code]
    assert len(code.strip().splitlines()) == 5
    (tmp_path / "made_of_help.py").write_text(f"import torch\nfrom torch import nn\n{code}")
    result = runner.invoke(app, ["plan", "made_of_help:factory", "--no-sizes"])
    sys.modules.pop("made_of_help", None)
    assert result.exit_code == 0, result.output
    assert "batch 256" in result.stdout


def test_max_batch_prints_rows(monkeypatch):
    from gact.planning.trials import search

    def pretend(trial, limit):
        size = trial.batch * (1 if trial.level == "L1" else 4) * 2**20
        return search.Attempt(trial.batch, size <= limit, size, 0.1)

    monkeypatch.setattr(search, "attempt", pretend)
    arguments = ["made_for_plans:build", "--limit", "100 MiB", "--level", "L0", "--level", "L1"]
    result = runner.invoke(app, ["bench", "max-batch", *arguments])
    assert result.exit_code == 0, result.output
    for text in ("L0", "L1", "25", "100", "4.0", "too large"):
        assert text in result.output
    result = runner.invoke(app, ["bench", "max-batch", *arguments, "--json"])
    levels = json.loads(result.stdout)["levels"]
    assert [(each["level"], each["batch"]) for each in levels] == [("L0", 25), ("L1", 100)]
    assert "too large" in result.stderr


def test_max_batch_under_too_small_a_limit_says_what_the_process_alone_has(monkeypatch):
    from gact.planning.trials import search

    monkeypatch.setattr(search, "attempt", lambda trial, limit: search.Attempt(trial.batch, False, limit + 1, 0.0))
    arguments = ["bench", "max-batch", "made_for_plans:build", "--limit", "1 MiB", "--level", "L0"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "Batch 0: not one sample fits into 1 MiB. This process, which has torch and no model" in result.output
    assert "larger --limit" in result.output


def test_max_batch_says_in_words_what_is_wrong():
    result = runner.invoke(app, ["bench", "max-batch", "made_for_plans:none", "--limit", "1 GiB", "--level", "L0"])
    assert result.exit_code == 1
    assert "has no function 'none'" in result.stderr
    result = runner.invoke(app, ["bench", "max-batch", "made_for_plans:build", "--level", "L7"])
    assert result.exit_code == 1
    assert "level must be one of" in result.stderr

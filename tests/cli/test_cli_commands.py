"""The commands as a user calls them."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import gact
from gact import demo
from gact.cli import extras, main, selftest
from gact.cli.app import app
from gact.demo.results import NetworkResult, Timeline, Training, WayResult

runner = CliRunner()


def without(monkeypatch, *modules):
    """Makes modules look as if they were not installed."""
    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in modules else real(name))


def test_demo_prints_a_table_and_writes_a_picture(tmp_path):
    picture = tmp_path / "demo.png"
    result = runner.invoke(app, ["demo", "--quick", "--output", str(picture)])
    assert result.exit_code == 0, result.output
    for text in ("convolutional", "transformer", "plain", "8 bits", "4 bits", "2 bits", "one seed", "peak MiB"):
        assert text in result.output
    assert result.output.count("training: ") == 2
    assert "\x1b" not in result.output
    assert max(map(len, result.output.splitlines())) <= 100
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_demo_refuses_a_missing_folder_before_training(tmp_path):
    result = runner.invoke(app, ["demo", "--output", str(tmp_path / "nowhere" / "demo.png")])
    assert result.exit_code == 1
    assert "Make it first, or choose another --output." in result.output


def test_demo_refuses_an_unknown_format_before_training(tmp_path):
    result = runner.invoke(app, ["demo", "--output", str(tmp_path / "demo.xyz")])
    assert result.exit_code == 1
    assert "must end in one of" in result.output


def test_demo_refuses_zero_seeds():
    assert runner.invoke(app, ["demo", "--seeds", "0"]).exit_code == 2


def test_demo_without_its_extra_names_the_command(monkeypatch):
    without(monkeypatch, "sklearn", "matplotlib")
    result = runner.invoke(app, ["demo"])
    assert result.exit_code == 1
    assert result.output.strip() == (
        "gact: this needs scikit-learn and matplotlib: run `pip install scikit-learn matplotlib` (gact's extra 'demo')."
    )


def test_main_without_its_extra_names_the_command(monkeypatch):
    without(monkeypatch, "typer")
    with pytest.raises(SystemExit, match=r"gact: this needs typer: run `pip install typer` \(gact's extra 'cli'\)"):
        main()


def test_importing_the_command_line_does_not_import_its_extra():
    code = "import sys, gact.cli; sys.exit(any(name in sys.modules for name in ('typer', 'sklearn', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_module_can_be_run():
    done = subprocess.run([sys.executable, "-m", "gact", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"gact {gact.__version__}"


def test_no_command_shows_the_help():
    output = runner.invoke(app, []).output
    assert "demo" in output
    assert "doctor" in output


def test_doctor_passes_and_names_what_runs():
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    for text in (
        "torch",
        "CPU kernels",
        "CPU memory",
        "instruction set",
        "GPU",
        "triton",
        "extra 'demo'",
        "scikit-learn",
    ):
        assert text in result.output
    assert result.output.count(" ok: ") == len(selftest.CHECKS)


def test_doctor_fails_if_a_check_fails(monkeypatch):
    monkeypatch.setitem(selftest.CHECKS, "broken", lambda: (False, "3 is not 4"))
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "FAILED: 3 is not 4" in result.output
    assert "The self-test failed" in result.output


def test_doctor_reports_a_missing_extra(monkeypatch):
    without(monkeypatch, "sklearn")
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "pip install scikit-learn" in result.output


def test_doctor_as_json(monkeypatch):
    data = json.loads(runner.invoke(app, ["doctor", "--json"]).stdout)
    assert data["facts"]["gact"] == gact.__version__
    assert all(check["passed"] for check in data["checks"])
    monkeypatch.setitem(selftest.CHECKS, "gradient", lambda: (False, "off by far"))
    result = runner.invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert {"name": "gradient", "passed": False, "detail": "off by far"} in json.loads(result.stdout)["checks"]


def test_demo_as_json(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "run", lambda settings, advance: [made])
    monkeypatch.setattr("gact.demo.picture.draw", lambda results, path: None)
    timeline = Timeline(("forward",), ((3, 5),))
    made = NetworkResult("net", 7, (WayResult(4, 80, 10, timeline, 1.5, (Training((0.5,), (0.1,), 0.9),)),))
    result = runner.invoke(app, ["demo", "--json", "--output", str(tmp_path / "demo.png")])
    assert result.exit_code == 0, result.output
    (network,) = json.loads(result.stdout)
    assert network["name"] == "net"
    assert network["ways"][0]["kept_bytes"] == 10
    assert network["ways"][0]["trainings"][0]["accuracy"] == 0.9


@pytest.mark.parametrize("command", ["demo", "sensitivity", "doctor", "plan", "profile", "bench max-batch"])
def test_every_command_has_json(command):
    assert "--json" in runner.invoke(app, [*command.split(), "--help"], env={"COLUMNS": "100"}).stdout

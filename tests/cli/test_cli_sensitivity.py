"""``gact sensitivity`` as a user calls it."""

import json

import pytest
from typer.testing import CliRunner

from gact.cli import extras
from gact.cli.app import app

runner = CliRunner()


@pytest.mark.parametrize("network", ["convolutional", "transformer"])
def test_the_table_and_the_picture_compare_each_site(network, tmp_path):
    picture = tmp_path / "scatter.png"
    arguments = ["sensitivity", network, "--steps", "2", "--rounds", "2", "--plot", str(picture)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "predicted   measured  ratio" in result.output
    (together,) = (line for line in result.output.splitlines() if line.startswith("all together"))
    assert 0.5 < float(together.split()[-1]) < 2
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unknown"], "the network must be one of convolutional, transformer, got unknown"),
        (["--plot", "x.xyz"], "must end in one of"),
        (["--plot", "/nowhere/x.png"], "choose another --plot."),
    ],
)
def test_what_cannot_be_done_is_refused(arguments, message):
    result = runner.invoke(app, ["sensitivity", *arguments])
    assert result.exit_code == 1
    assert message in result.output


def test_without_the_extra_the_command_is_named(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    result = runner.invoke(app, ["sensitivity"])
    assert result.exit_code == 1
    assert "pip install scikit-learn matplotlib" in result.output


def test_the_rows_as_json():
    result = runner.invoke(app, ["sensitivity", "--steps", "2", "--rounds", "1", "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert (data["network"], data["bits"], data["steps"]) == ("convolutional", 4, 2)
    *sites, together = sorted(data["rows"], key=lambda row: row["site"] is None)
    assert together["site"] is None
    assert all(row["predicted"] >= 0 and row["bits"] in range(1, 9) for row in sites)

"""Each case runs on tiny sizes and writes well-formed rows; nothing is asserted about what it measures."""

import csv
import json
import os
import platform
from pathlib import Path

import pytest
from benchmarks.options import Options, parse_where
from benchmarks.rows import COLUMNS
from benchmarks.run import main, names

import forked
from gact.ops import status

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"
WAYS = {
    "accuracy": {"plain", "4 bits", "min-max 4 bits"},
    "architectures": {"plain", "4 bits"},
    "compiled": {"plain", "4 bits", "4 bits, not compiled", "all widths"},
    "codec": {"copy", "clone", "quantize", "dequantize", "dequantize_into"},
    "demo": {"plain", "4 bits"},
    "estimators": {"grouped", "exhaustive"},
    "levels": {"fitted table", "dither, 2 shared bits", "dither or plain, 2 shared bits", "hadamard 16"},
    "max_batch": {"L0", "checkpointing", "L1", "L2", "CB1"},
    "memory": {"plain", "4 bits"},
    "mix": {"planned"},
    "noise": {"plain", "4 bits", "4 bits, derive=False", "automatic 4 bits"},
    "overhead": {"identity hooks", "skipped", "packed", "kernels", "tracked", "enter and leave"},
    "peers": {"plain torch", "gact", "to bfloat16"},
    "pick": {"plain", "selective checkpointing", "gact, 4 bits", "gact, 4 bits, checkpointing"},
    "plan": {"predicted", "measured"},
    "pretrained": {"plain", "4 bits", "automatic 4 bits"},
    "probing": {"8 bits", "measuring step"},
    "small": {"plain", "compressed"},
    "step": {"plain", "4 bits", "4 bits, derive=False"},
    "trainers": {"plain", "4 bits"},
    "triton": {"quantize", "dequantize", "encode_mask", "encode_integers"},
    "zoo": {"8 bits", "4 bits"},
}
"""Some of the ways that each case must measure."""


def run(*arguments):
    return forked.run(RUN, *arguments, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=RUN.parents[1])


def rows_of(path):
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames) == COLUMNS
        return list(reader)


def test_every_case_is_tested():
    assert set(WAYS) == set(names())


@pytest.mark.parametrize("case", sorted(WAYS))
def test_case_writes_well_formed_rows(case, tmp_path):
    done = run(case, "--quick", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / f"{case}.csv")
    assert WAYS[case] <= {row["way"] for row in rows}
    for row in rows:
        assert row["case"] == case
        assert float(row["p20"]) <= float(row["p50"]) <= float(row["p80"])
        assert row["command"] == f"OMP_NUM_THREADS=1 python benchmarks/run.py {case} --quick"
        assert json.loads(row["machine"]).keys() == {"cpu", "cores", "threads", "instruction_set"}
        assert json.loads(row["versions"]).keys() == {"python", "torch", "gact"}
        assert isinstance(json.loads(row["config"]), dict)
    assert platform.node() not in (tmp_path / f"{case}.csv").read_text()
    assert str(tmp_path) not in (tmp_path / f"{case}.csv").read_text()


@pytest.mark.skipif("baseline" not in status().available, reason="needs the C++ kernels")
def test_an_instruction_set_can_be_forced(tmp_path):
    done = run("codec", "--quick", "--cpu", "baseline", "--where", "bits=8", "dtype=float32", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "codec.csv")
    assert {json.loads(row["machine"])["instruction_set"] for row in rows} == {"baseline"}
    assert {json.loads(row["config"])["dtype"] for row in rows} == {"float32"}
    assert rows[0]["command"].startswith("GACT_CPU=baseline OMP_NUM_THREADS=1 python benchmarks/run.py codec --quick")


def test_list_gives_a_line_for_each_case(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert all(len(line.split()) > 4 for line in lines)


@pytest.mark.parametrize("arguments", [["no_such_case"], [], ["codec", "--where", "bits"]])
def test_a_wrong_command_line_says_what_is_allowed(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    error = capsys.readouterr().err
    assert "name cases out of accuracy, architectures, codec" in error or "--where takes name=value" in error


def test_where_chooses_configurations():
    options = Options(where=parse_where(["bits=2,4", "dtype=float32"]))
    assert options.wants({"bits": 4, "dtype": "float32"})
    assert options.wants({"network": "bert"})
    assert not options.wants({"bits": 8})
    assert not options.wants({"bits": 4, "dtype": "float16"})

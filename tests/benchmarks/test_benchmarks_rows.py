"""Quantiles, the CSV file, and the pairing of measurements."""

import csv

import pytest
from benchmarks.rows import Row, Spread, Writer, command, commit, read
from benchmarks.timing import Samples, take_turns


def test_quantiles_are_interpolated():
    assert Spread.of([5, 1, 3, 2, 4, 6]) == Spread(2, 3.5, 5)
    assert Spread.of([7]) == Spread(7, 7, 7)


def test_quantiles_of_nothing():
    with pytest.raises(ValueError, match="values must not be empty"):
        Spread.of([])


def test_rows_are_appended_below_one_header(tmp_path):
    for value in (1.0, 2.0):
        Writer(tmp_path, ["some", "--quick"]).append("some", Row("a way", "us", Spread.exact(value), {"bits": 4}))
    with (tmp_path / "some.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["p50"]) for row in rows] == [1.0, 2.0]
    assert {(row["case"], row["way"], row["metric"], row["config"]) for row in rows} == {
        ("some", "a way", "us", '{"bits": 4}')
    }


def test_a_part_of_a_case_has_a_file_of_its_own(tmp_path):
    writer = Writer(tmp_path, [])
    writer.append("some", Row("a way", "us", Spread.exact(1.0)))
    writer.append("some", Row("a way", "loss", Spread.exact(2.0), part="curves"))
    assert [row["metric"] for row in read(tmp_path / "some.csv")] == ["us"]
    assert [row["metric"] for row in read(tmp_path / "some_curves.csv")] == ["loss"]


def test_a_file_with_other_columns_is_refused(tmp_path):
    (tmp_path / "some.csv").write_text("case,seconds\n")
    with pytest.raises(ValueError, match=r"some.csv must have the columns case, way.*got case, seconds"):
        Writer(tmp_path, []).append("some", Row("a way", "us", Spread.exact(1.0)))


@pytest.mark.parametrize("output", [["--output", "/some/where"], ["--output=/some/where"]])
def test_command_leaves_the_folder_out(output, monkeypatch):
    monkeypatch.setenv("GACT_CPU", "avx2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert command(["codec", *output, "--quick"]) == "GACT_CPU=avx2 python benchmarks/run.py codec --quick"


def test_commit_is_a_short_hash_or_unknown():
    assert commit() == "unknown" or len(commit().removesuffix("+dirty")) in range(7, 13)


def test_ratios_and_differences_are_taken_within_a_round():
    samples = Samples({"a": (2.0, 20.0, 200.0), "b": (1.0, 10.0, 100.0), "c": (0.5, 5.0, 50.0)})
    assert samples.ratio("a", "b") == Spread.exact(2.0)
    assert samples.difference("a", "b", "c", unit=0.5).p50 == 10.0
    assert samples.time("b", unit=10.0).p50 == 1.0
    assert samples.rate("b", 100.0).p50 == 10.0


def test_ways_take_turns_in_alternating_order():
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    samples = take_turns(ways, rounds=3, warm_up=1)
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert {len(values) for values in samples.seconds.values()} == {3}

"""The table and the picture of the trainers case."""

from pathlib import Path

from benchmarks.rows import Row, Spread, Writer
from benchmarks.trainers import TRAINERS, trainer
from benchmarks.trainers_plot import draw
from benchmarks.trainers_rows import curves
from benchmarks.trainers_table import table


def written(folder):
    writer = Writer(folder, [])
    for way, shift in (("plain", 0.0), ("4 bits", 0.05)):
        for seed in range(3):
            for step, loss in ((10, 2.0), (20, 1.0)):
                config = {"trainer": "some", "steps": 20, "seed": seed, "step": step}
                # The seeds of the first point are apart, those of the last are not.
                value = loss + shift + seed / 10 * (step == 10)
                writer.append("trainers", Row(way, "training_loss", Spread.exact(value), config, part="curves"))
            writer.append(
                "trainers", Row(way, "last_loss", Spread.exact(1.0 + shift), {"trainer": "some", "seed": seed})
            )
    for metric, value in {"ratio": 8.0, "coverage": 99.0, "passes": 7, "resumed_equal": 1}.items():
        writer.append("trainers", Row("4 bits", metric, Spread.exact(value), {"trainer": "some"}))


def test_the_table_compares_the_curves_with_the_spread_of_the_seeds(tmp_path):
    written(tmp_path)
    line = table(tmp_path).splitlines()[-1]
    wanted = "some | 20 | 1.0000 ± 0.0000 | 1.0500 ± 0.0000 | +0.0500 ± 0.0000 | 1 of 2 | 8.0 x | 7 | bit-equal"
    assert line == f"| {wanted} |"
    assert curves(tmp_path)["some"]["plain"][10].values == {0: 2.0, 1: 2.1, 2: 2.2}


def test_the_picture_is_drawn(tmp_path):
    written(tmp_path)
    draw(tmp_path / "some.png", tmp_path)
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")


def test_a_trainer_whose_package_is_missing_is_left_out(monkeypatch):
    monkeypatch.setitem(TRAINERS, "some", ("reviews.trainer", ("there_is_no_such_package",)))
    assert trainer("some") is None


def test_the_docs_have_the_table_of_the_rows():
    assert table() in (Path(__file__).parents[2] / "docs" / "training.md").read_text()

"""Archives, the code without exact masks, and the figures that the docs show."""

import hashlib
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from benchmarks.accuracy_plot import draw
from benchmarks.accuracy_rows import curves, outcomes
from benchmarks.accuracy_table import table
from benchmarks.archives import Archive
from benchmarks.rows import Row, Spread, Writer
from benchmarks.training.ways import MinMax

import gact


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GACT_BENCHMARK_DATA", str(tmp_path))
    (tmp_path / "archives").mkdir()
    return tmp_path / "archives"


def archive(path):
    return Archive(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), "fetch it")


def tar_of(members, mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def deb_of(members):
    parts = {"debian-binary": b"2.0", "data.tar.xz": lzma.compress(tar_of(members, "w"))}
    out = b"!<arch>\n"
    for name, content in parts.items():
        out += f"{name:16}{0:<12}{0:<6}{0:<6}{'100644':8}{len(content):<10}`\n".encode() + content
        out += b"\n" * (len(content) % 2)
    return out


def test_a_missing_archive_is_fetched_once(folder):
    missing = Archive("some.whl", "", "echo fetched >> some.whl")
    missing.fetched()
    missing.fetched()
    assert (folder / "some.whl").read_text() == "fetched\n"


@pytest.mark.parametrize("kind", ["whl", "tgz", "deb"])
def test_wanted_members_are_unpacked(kind, folder):
    members, path = {"data/one.txt": b"1", "data/two.txt": b"2"}, folder / f"some.{kind}"
    if kind == "whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in members.items():
                wheel.writestr(name, content)
    else:
        path.write_bytes(tar_of(members, "w:gz") if kind == "tgz" else deb_of(members))
    known = archive(path)
    root = known.unpack(lambda name: name.endswith("two.txt"))
    assert [found.read_bytes() for found in root.rglob("*.txt")] == [b"2"]
    path.unlink()
    assert known.unpack(lambda name: True) == root


def test_a_missing_archive_names_the_command(folder):
    with pytest.raises(FileNotFoundError, match=r"some.whl is missing. Fetch it with: .*&& pip download some"):
        Archive("some.whl", "0", "pip download some").unpack(lambda name: True)


def test_another_archive_is_refused(folder):
    (folder / "some.whl").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"must have the SHA-256 sum 12ab, got .*Fetch it with"):
        Archive("some.whl", "12ab", "pip download some").checked()


def test_the_code_without_masks_rounds_all_but_weights_and_small_tensors():
    layer = torch.nn.Linear(64, 64)
    x = torch.randn(64, 64, requires_grad=True)
    with MinMax(layer, 4, seed=0):
        y = layer(x).relu()
    exact = layer(x).relu()
    assert torch.equal(y, exact)
    assert torch.equal(y.grad_fn.next_functions[0][0]._saved_mat2, layer.weight.t())
    decoded = y.grad_fn._saved_result
    assert not torch.equal(decoded, exact)
    scale = gact.quantize(exact.detach(), 4).scale.max()
    assert (decoded - exact).abs().max() <= scale
    with MinMax(layer, 4, seed=0):
        small = x[:4].tanh()
    assert torch.equal(small.grad_fn._saved_result, small)


def write(folder, figures):
    writer = Writer(folder, [])
    for (task, way, metric), values in figures.items():
        for seed, value in enumerate(values):
            writer.append("accuracy", Row(way, metric, Spread.exact(value), {"task": task, "seed": seed}))


def test_rows_of_seeds_become_outcomes(tmp_path):
    write(tmp_path, {("reviews", "plain", "test_accuracy"): [0.7, 0.8], ("reviews", "4 bits", "test_accuracy"): [0.7]})
    found = outcomes(tmp_path)["reviews"]
    assert found["plain"].mean == pytest.approx(0.75)
    assert found["plain"].deviation == pytest.approx(0.1 / 2**0.5)
    assert found["4 bits"].deviation == 0
    assert found["4 bits"].error_of_difference(found["plain"]) == pytest.approx(0.05)


def test_the_table_says_what_is_within(tmp_path):
    write(
        tmp_path,
        {
            ("speeches", "plain", "validation_loss"): [2.0, 2.2, 2.4],
            ("speeches", "4 bits", "validation_loss"): [2.1, 2.3, 2.5],
            ("speeches", "min-max 4 bits", "validation_loss"): [3.0, 3.2, 3.4],
        },
    )
    lines = table(tmp_path).splitlines()[2:]
    assert lines[0] == "| speeches | plain | 3 | 2.2000 ± 0.2000 |  |  |  |"
    assert lines[1] == "| speeches | 4 bits | 3 | 2.3000 ± 0.2000 | +0.1000 ± 0.1633 | within | +0.1000 ± 0.0000 |"
    assert lines[2].endswith("| +1.0000 ± 0.1633 | outside | +1.0000 ± 0.0000 |")


def test_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    writer = Writer(tmp_path, [])
    for step in (1, 2):
        config = {"task": "fashion", "step": step}
        writer.append("accuracy", Row("plain", "training_loss", Spread(1.0, 2.0, 3.0), config, part="curves"))
    assert curves(tmp_path) == {"fashion": {"plain": {1: Spread(1.0, 2.0, 3.0), 2: Spread(1.0, 2.0, 3.0)}}}
    draw(tmp_path / "curves.png", tmp_path)
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_the_table_of_the_docs_is_that_of_the_rows():
    text = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text()
    assert table() in text, "run python benchmarks/accuracy_table.py and put its output into docs/accuracy.md"

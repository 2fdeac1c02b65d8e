"""The zoo: tiny models built from the names of their settings, and the figures of a few of them."""

import dataclasses

import pytest
import torch
from benchmarks.cases import zoo
from benchmarks.options import Options
from benchmarks.rows import Row, Spread, Writer
from benchmarks.zoo import apart
from benchmarks.zoo.building import CannotBuildError, build
from benchmarks.zoo.catalogue import architectures
from benchmarks.zoo.measuring import gradient, measure
from benchmarks.zoo_table import table

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def known():
    return {each.name: each for each in architectures()}


def test_the_catalogue_has_every_kind_once(known):
    assert len(known) == len(list(architectures())) >= 300
    assert {known[name].family for name in ("bert", "vit", "clip", "t5", "whisper", "hubert", "llama")} >= {
        *("text encoder", "image", "image and text", "text to text", "speech to text", "speech", "text decoder")
    }


@pytest.mark.parametrize(("name", "width"), [("bert", 256), ("vit", 192), ("mixtral", 192)])
def test_a_model_is_tiny_and_the_same_each_time(known, name, width):
    (built, loss), (again, _) = build(known[name], width), build(known[name], width)
    assert loss == "own"
    assert built.model.config.hidden_size == width
    assert sum(parameter.numel() for parameter in built.model.parameters()) < 5_000_000
    assert torch.equal(gradient(built), gradient(again))
    assert torch.equal(gradient(built), gradient(built))


def test_the_noise_of_a_known_model_is_small(known):
    eight, four = measure(known["bert"], (192,), (8, 4))
    assert (eight.family, eight.loss, eight.reason) == ("text encoder", "own", "")
    assert 0 < eight.noise < 1e-3 < four.noise < 0.1
    assert four.ratio > eight.ratio > 3


def test_outputs_without_a_loss_are_held_against_random_targets(known):
    built, loss = build(known["clip"], 192)
    assert loss == "outputs"
    assert all(bool(gradient(built).isfinite().all()) for _ in range(2))


def test_what_cannot_be_built_says_why(known):
    with pytest.raises(CannotBuildError, match="constructor: KeyError"):
        build(dataclasses.replace(known["bert"], name="no such type"), 256)
    (found,) = measure(dataclasses.replace(known["bert"], class_name="NoSuchModel"), (256,), (8,))
    assert found.bits == 0
    assert "NoSuchModel" in found.reason


def test_a_process_that_takes_too_long_is_ended(known):
    (found,) = apart.measure_apart(known["bert"], (256, 192), (8,), seconds=0)
    assert found.reason == "took more than 0 seconds"


def test_a_quick_run_gives_rows_and_a_table(tmp_path):
    rows = list(zoo.run(Options(quick=True, where={"network": frozenset(("vit",))})))
    assert [(row.way, row.metric, row.config["network"]) for row in rows] == [
        ("8 bits", "noise", "vit"),
        ("4 bits", "noise", "vit"),
    ]
    left = {"network": "timm_wrapper", "width": 256, "class": "", "reason": "constructor: ImportError: no timm"}
    bad = {**rows[0].config, "network": "wrong"}
    writer = Writer(tmp_path, ["zoo"])
    for row in (*rows, Row("8 bits", "noise", Spread.exact(float("inf")), bad)):
        writer.append("zoo", row)
    writer.append("zoo", Row("left out", "reason", Spread.exact(0), left, part="reasons"))
    text = table(tmp_path)
    assert "| image | 2 | 1 |" in text
    assert "| image | wrong | 256 | 8 | inf |" in text
    assert "1 architectures have no figure at one width or both: 1 constructor." in text

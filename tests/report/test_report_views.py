"""The report for people: the table, the page, the warnings."""

import re
import warnings

import pytest
import torch
from torch import nn

import gact
from pages import Page


def test_the_table_is_what_print_shows(report):
    lines = str(report).splitlines()
    lines = lines[next(at for at, line in enumerate(lines) if "saved for backward" in line) :]
    assert f"{report.ratio:.2f}x smaller" in lines[0]
    assert f"coverage {report.coverage:.1f} %" in lines[1]
    header = next(line for line in lines if line.startswith("module"))
    for column in ("op[slot]", "code", "saves", "duplicates", "plain MiB", "kept MiB"):
        assert column in header


def test_the_table_is_short_and_narrow(report):
    lines = str(report).splitlines()
    assert len(lines) <= 24 + 2 * len(report.advice)
    assert all(len(line) <= 140 for line in lines)
    assert not any(line != line.rstrip() for line in lines)


def test_the_table_shows_both_sizes(step):
    report = step(nn.Sequential(nn.Linear(512, 512), nn.Tanh()), torch.randn(2048, 512))
    assert report.plain_bytes == 2 * 4 * 2**20
    assert "8.00 MiB by plain autograd" in str(report)
    assert f"{report.kept_bytes / 2**20:.2f} MiB by gact" in str(report)


def test_the_largest_come_first(step):
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 512), nn.Sigmoid())
    table = str(step(model, torch.randn(256, 64), min_bytes=0))
    assert table.index("sigmoid[0]") < table.index("tanh[0]")


def test_slots_of_one_op_that_are_treated_alike_share_a_line_and_most_kept_comes_first(step):
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64), nn.Tanh())
    report = step(model, torch.randn(512, 64), min_bytes=4096)
    body = [line.split() for line in str(report).splitlines() if re.search(r"\w\[[\d,]+\]", line)]
    assert [line[1] for line in body if line[1].startswith("layer_norm")] == ["layer_norm[1]", "layer_norm[3,4]"]
    kept = [float(line[-1]) for line in body]
    assert kept == sorted(kept, reverse=True)
    assert sum(kept) == pytest.approx(report.kept_bytes / 2**20, abs=0.01 * len(kept))


def test_alike_sites_share_a_line(step):
    model = nn.Sequential(*[nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(12)])
    lines = [line for line in str(step(model, torch.randn(64, 32), min_bytes=0)).splitlines() if "tanh[0]" in line]
    assert len(lines) == 1
    assert "*.*" in lines[0]
    assert " 12 " in lines[0]


def test_many_kinds_of_sites_are_summed_up(step):
    names = [f"{chr(97 + i)}{chr(97 + j)}" for i in range(6) for j in range(6)]
    model = nn.Sequential()
    for name in names:
        model.add_module(name, nn.Tanh())
    text = str(step(model, torch.randn(64, 64, requires_grad=True), min_bytes=0))
    assert "smaller kinds" in text
    assert len(text.splitlines()) <= 24


def test_reasons_are_in_the_table(step):
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2), nn.Sigmoid())
    assert "kept: small" in str(step(model, torch.randn(64, 32), min_bytes=1024))


def test_nothing_yet():
    assert "nothing yet" in str(gact.Compressor().report())
    assert "nothing yet" in Page(gact.Compressor().report().to_html()).text


def test_long_paths_are_cut_in_the_table(step):
    model = nn.Tanh()
    for _ in range(12):
        model = nn.Sequential(nn.ModuleDict({"inner_block_of_layers": model})["inner_block_of_layers"])
    lines = str(step(model, torch.randn(64, 32, requires_grad=True), min_bytes=0)).splitlines()
    assert all(len(line) <= 140 for line in lines)


def test_a_context_that_compressed_nothing_says_so_once():
    model, c = nn.Linear(4, 4), None
    c = gact.Compressor(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            with c:
                model(torch.randn(2, 4))
    messages = [str(each.message) for each in caught]
    assert len(messages) == 1
    assert "gact compressed nothing: all 1 saved tensors were left alone (small)" in messages[0]
    assert "min_bytes=65536" in messages[0]


def test_a_context_in_which_nothing_was_saved_says_so():
    model = nn.Linear(4, 4)
    c = gact.Compressor(model)
    with pytest.warns(UserWarning, match="autograd saved no tensor inside the context"), torch.no_grad(), c:
        model(torch.randn(2, 4))


def test_a_context_with_parameters_only_says_so():
    model = nn.Linear(64, 64).requires_grad_(False)
    with pytest.warns(UserWarning, match=r"left alone \(parameter\)"), gact.Compressor(model, min_bytes=0):
        model(torch.randn(16, 64, requires_grad=True) * 1)


@pytest.mark.filterwarnings("error")
def test_a_context_that_compressed_something_is_quiet(step, recwarn):
    model = nn.Sequential(nn.Linear(256, 256), nn.Tanh())
    report = step(model, torch.randn(256, 256))
    assert report.coverage == 100
    assert len(recwarn) == 0


def test_the_representation_is_one_short_line(report):
    assert len(repr(report)) < 120
    assert "\n" not in repr(report)
    assert f"({report.ratio:.1f}x)" in repr(report)


def test_a_notebook_shows_the_kinds_of_sites(report):
    part = Page(report._repr_html_())
    assert "table" in part.tags
    assert "op[slot]" in part.text
    assert "script" not in part.tags
    assert len(report._repr_html_()) < 20_000


def test_before_the_first_step_there_is_nothing_to_show():
    empty = gact.Compressor(nn.Linear(2, 2)).report()
    assert "nothing saved yet" in repr(empty)
    assert "nothing yet" in empty._repr_html_()


def test_two_steps_beside_each_other(step):
    model, x = nn.Sequential(nn.Linear(64, 512), nn.GELU(), nn.Linear(512, 64)), torch.randn(256, 64)
    eight, two = (step(model, x, bits=bits, adaptive=False, min_bytes=0) for bits in (8, 2))
    told = eight.compare(two).splitlines()
    gelu = next(line for line in told if "gelu[0]" in line).split()
    assert gelu[2:6] == ["8", "bits", "2", "bits"]
    assert float(gelu[-1]) == pytest.approx(float(gelu[-2]) - float(gelu[-3]), abs=0.02)
    assert told[-1].split()[0] == "all"
    assert told[-1].split()[-1].startswith("-")
    assert "gelu[0]" in told[2]  # the greatest difference first

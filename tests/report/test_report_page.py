"""The report as a page: what stands in it is what the report and the profiles say."""

import pytest
import torch
from torch import nn

import gact
from gact.report import html
from gact.report.table import code_name
from gact.text import mebibytes, sized
from pages import Page


def expected(row):
    site = f"{row.op}{f'#{row.call}' if row.call else ''}[{row.slot}]"
    names = [row.module or "(model)", site, code_name(row), str(row.count), str(row.duplicates)]
    return [*names, mebibytes(row.plain_bytes), mebibytes(row.kept_bytes)]


def test_the_table_has_every_row_of_the_report(report):
    head, *rows = Page(report.to_html()).tables["Table: Saved tensors"]
    assert head == ["module", "op[slot]", "code", "saves", "duplicates", "plain MiB", "kept MiB"]
    assert sorted(rows) == sorted(map(expected, report.rows))
    kept = [float(row[-1]) for row in rows]
    assert kept == sorted(kept, reverse=True)


def test_the_headline_has_the_figures(report):
    text = Page(report.to_html()).text
    for figure in (
        f"kept, plain {sized(report.plain_bytes)}",
        f"kept, gact {sized(report.kept_bytes)}",
        f"ratio {report.ratio:.2f}x",
        f"coverage {report.coverage:.1f} %",
        report.model,
    ):
        assert figure in text


def test_it_loads_nothing_and_is_small(report):
    page = report.to_html()
    assert Page(page).loads == []
    assert "http:" not in page
    assert "https:" not in page
    assert len(page) < 500_000


def test_without_a_profile_the_command_that_measures_it_is_named(report):
    told = Page(report.to_html())
    assert "gact profile --html report.html train.py" in told.text
    assert "svg" not in told.tags


def test_advice_stands_there_and_its_reasons_and_names_are_escaped(step):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("<b>&\x1b[31m", nn.Tanh())

        def forward(self, x):
            return next(self.children())(x)

    with pytest.warns(gact.GactWarning, match="compressed nothing"):
        report = step(Odd(), torch.randn(64, 32, requires_grad=True), min_bytes=1 << 20)
    page = report.to_html()
    assert "<b>&" not in page
    told = Page(page)
    assert r"<b>&\x1b[31m" in told.text
    assert report.advice
    for code, text, remedy in report.advice:
        assert f"{code}{text} {remedy}" in told.text or f"{code} {text} {remedy}" in told.text


def profiles(model, x):
    def plain():
        model(x).square().mean().backward()
        model.zero_grad()

    def compressed():
        with compressor:
            loss = model(x).square().mean()
        loss.backward()
        model.zero_grad()

    compressor = gact.Compressor(model, bits=4, adaptive=False, min_bytes=1024)
    found = {"plain": gact.profile_step(plain, model, [x]), "4 bits": gact.profile_step(compressed, model, [x])}
    return compressor.report(), found


def test_with_profiles_the_chart_has_their_peaks():
    model = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Sigmoid()) for _ in range(6)])
    report, found = profiles(model, torch.randn(2048, 64))
    told = Page(report.to_html(found, "a title"))
    assert "a title" in told.text
    for way, profile in found.items():
        assert f"peak, {way} {sized(profile.peak_bytes)}" in told.text
        assert f"{way}: {sized(profile.peak_bytes)}" in told.text
        assert told.tables[f"Table: Alive at the peak, {way}"][1][0] == mebibytes(profile.holders[0].nbytes)
    assert told.tags.count("svg") == 2
    ways = told.data["chart"]["ways"]
    assert {way["name"]: max(point[1] for point in way["points"]) for way in ways} == {
        way: profile.peak_bytes for way, profile in found.items()
    }
    head, *rows = told.tables["Table: Peaks of the step"]
    for row, profile in zip(rows, found.values(), strict=True):
        figures = dict(zip(head, row, strict=True))
        assert figures["backward"] == mebibytes(profile.phase_peaks["backward"])
        assert figures["peak"] == mebibytes(profile.peak_bytes)


def test_a_profile_alone_is_a_page():
    model = nn.Sequential(nn.Linear(64, 64), nn.Sigmoid())
    _, found = profiles(model, torch.randn(512, 64))
    told = Page(found["plain"].to_html())
    assert told.loads == []
    assert f"step: {sized(found['plain'].peak_bytes)}" in told.text


def test_a_page_of_a_huge_report_stays_small(step, monkeypatch):
    monkeypatch.setattr(html, "_MOST", 5)
    model = nn.Sequential(*[nn.Tanh() for _ in range(9)])
    report = step(model, torch.randn(64, 32, requires_grad=True), min_bytes=0)
    told = Page(report.to_html())
    assert len(told.tables["Table: Saved tensors"]) == 1 + 5
    assert f"and {len(report.rows) - 5} smaller rows" in told.text


def test_no_report_makes_a_large_page():
    path = "a_network_with_long_names.encoder.layers.{}.attention.self.query_key_value_projection.{}"
    rows = [
        gact.Row(path.format(at % 99, at), "linear", 0, 0, "groups", 4, 1, 0, 2**20, 2**17, "") for at in range(9999)
    ]
    assert len(gact.Report(tuple(rows)).to_html()) < 5_000_000


def test_what_was_offloaded_has_a_column(step, tmp_path):
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh())
    report = step(model, torch.randn(512, 64), min_bytes=0, offload=f"disk:{tmp_path}")
    head, *rows = Page(report.to_html()).tables["Table: Saved tensors"]
    at = head.index("offloaded MiB")
    assert sum(float(row[at]) for row in rows) == pytest.approx(report.offloaded_bytes / 2**20, abs=0.02)
    assert report.offloaded_bytes > 0


def test_every_row_has_its_colour_and_its_words_in_the_legend(step):
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.99), nn.Linear(64, 64), nn.GELU(), nn.MaxPool1d(2))
    x = torch.randn(256, 64) * (torch.rand(256, 64) < 0.01)
    report = step(model, x, min_bytes=0)
    told = Page(report.to_html())
    codes = html._codes(report)
    assert {html._kind(row) for row in report.rows} <= set(codes)
    assert "0 bits" not in told.text
    for kind in {html._kind(row) for row in report.rows if row.plain_bytes}:
        assert f"{kind}: " in told.text
    for style in codes.values():
        assert f".{style}{{background:" in told.style or f".{style}," in told.style

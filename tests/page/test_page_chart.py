"""The chart of a page: where its points and ticks lie, and that no peak is lost."""

import re
from itertools import pairwise

import pytest

from gact.page import KINDS, Curve, Moment, chart
from gact.page.scales import spread, ticks
from pages import Page

MIB = 2**20


def curve(name, phases, size=lambda at: at + 1):
    moments, at = [], 0
    for phase, count in phases:
        for _ in range(count):
            moments.append(Moment(phase, f"op {at}", size(at) * MIB, (size(at) * MIB, 0, 0, 0, 0)))
            at += 1
    return Curve(name, moments)


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (0, ["0 B"]),
        (1, ["0 B", "0.2 B", "0.4 B", "0.6 B", "0.8 B", "1 B"]),
        (645 * MIB, ["0 MiB", "200 MiB", "400 MiB", "600 MiB"]),
        (1.9 * 2**30, ["0 GiB", "0.5 GiB", "1 GiB", "1.5 GiB"]),
        (1023, ["0 B", "250 B", "500 B", "750 B", "1000 B"]),
    ],
)
def test_ticks_are_round_and_in_the_unit_that_fits(highest, labels):
    found = ticks(highest)
    assert [label for _, label in found] == labels
    assert all(0 <= value <= highest for value, _ in found)


def test_alike_phases_lie_over_each_other():
    first, second = curve("a", [("forward", 10), ("backward", 30)]), curve("b", [("forward", 90), ("backward", 30)])
    (one, other), phases = spread([first, second])
    (_, end, name), (start, last, _) = phases
    assert (name, start) == ("forward", end)
    assert last == pytest.approx(1)
    for points in (one, other):
        assert all((x < end) == (moment.phase == "forward") for x, moment in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_other_phases_are_stretched_each_by_itself():
    (one, other), phases = spread([curve("a", [("forward", 10)]), curve("b", [("forward", 5), ("backward", 5)])])
    assert [name for *_, name in phases] == ["forward"]
    assert len(one) == len(other) == 10
    assert other[-1][0] > 0.9


def test_of_many_moments_the_highest_stay():
    lone = 77_777
    many = curve("a", [("forward", 100_000)], lambda at: 9 if at == lone else 1)
    (points,), _ = spread([many])
    assert len(points) < 1000
    assert max(points, key=lambda point: point[1].size)[1].what == f"op {lone}"


def test_a_phase_of_one_operation_can_be_seen():
    _, phases = spread([curve("a", [("forward", 5000), ("backward", 5000), ("after", 1)])])
    assert all(end - start > 0.1 for start, end, _ in phases)


def drawn(curves):
    page, data = chart(curves)
    return page, Page(page), data["chart"]


def test_the_peaks_are_labelled_and_their_dots_lie_on_the_lines():
    page, told, data = drawn([curve("plain", [("forward", 50)]), curve("4 bits", [("forward", 50)], lambda at: 5)])
    assert "plain: 50 MiB" in told.text
    assert "4 bits: 5 MiB" in told.text
    for svg in re.findall("<svg.*?</svg>", page):
        for line, x, y in zip(
            re.findall(r'<path d="M([^"]*L[^"]*)" class="line way\d">', svg),
            *(re.findall(rf'<circle[^>]* {name}="([\d.]+)"', svg) for name in ("cx", "cy")),
            strict=True,
        ):
            assert f"{x} {y}" in line.split("L")
    assert [max(point[1] for point in way["points"]) for way in data["ways"]] == [50 * MIB, 5 * MIB]


def test_labels_of_peaks_of_one_height_do_not_cover_each_other():
    page, *_ = drawn([curve(name, [("forward", 20)]) for name in ("plain", "4 bits", "2 bits")])
    for svg in re.findall("<svg.*?</svg>", page):
        heights = sorted(float(y) for y in re.findall(r'class="peak">.*?<text [^>]*? y="([\d.]+)"', svg))
        assert len(heights) == 3
        assert all(later - earlier >= 14 for earlier, later in pairwise(heights))


def test_everything_lies_inside_the_picture():
    long = "a way with a name that is much too long for the narrow picture"
    page, *_ = drawn([curve(long, [("forward", 9), ("backward", 3)])])
    for width, height, svg in re.findall(r'<svg viewBox="0 0 (\d+) (\d+)"(.*?)</svg>', page):
        for points in re.findall(r' d="M([\d. L]+)"', svg):
            for point in points.split("L"):
                x, y = map(float, point.split())
                assert 0 <= x <= float(width)
                assert 0 <= y <= float(height)


def test_the_stack_has_the_kinds_that_hold_bytes():
    parts = [(10, 0, at, 5, 0) for at in range(1, 9)]
    page, told, data = drawn([Curve("a", [Moment("forward", "op", sum(part) * MIB, part) for part in parts])])
    assert re.findall(r'class="kind (\w+)"', re.findall('<g class="stack".*?</g>', page)[0]) == [
        "before",
        "forward",
        "backward",
    ]
    assert KINDS["codes"] not in told.text
    assert [point[3:] for point in data["ways"][0]["points"]] == [list(part) for part in parts]


def test_one_stack_is_shown_at_a_time_and_it_can_be_chosen():
    page, told, _ = drawn([curve("plain", [("forward", 5)]), curve("4 bits", [("forward", 5)])])
    assert page.count('<g class="stack" data-way="0" hidden>') == page.count('<g class="stack" data-way="1">') == 2
    assert told.tags.count("input") == 3


def test_nothing_to_draw_is_no_error():
    for curves in ([], [Curve("a", [])], [Curve("a", [Moment("forward", "op", 0)])]):
        assert "<svg" in chart(curves)[0]


def test_a_reader_of_the_screen_hears_the_peaks():
    _, told, _ = drawn([curve("plain", [("forward", 50), ("backward", 3)])])
    labels = [value for name, value in told.attributes if name == "aria-label"]
    assert all("plain: peak 53 MiB in backward, at op 52" in label for label in labels)

"""Elements, tables and trees of a page, and the page around them."""

import base64
import hashlib
import re

import pytest

from gact.page import Cell, Part, cards, document, element, grid, legend, section, tree
from pages import Page

HOSTILE = '</script><script>alert("1")</script>&\x1b[31m\udc80'
CODES = {"4 bits": "b4", "exact": "keep"}


def test_attributes_and_text_are_escaped():
    found = element("a", class_="b", data_x='"<&', hidden=True, title=None, open=False)
    assert found == '<a class="b" data-x="&quot;&lt;&amp;" hidden></a>'


def test_nothing_in_a_name_gets_out_of_its_element():
    parts = (
        cards([(HOSTILE, HOSTILE, HOSTILE)]),
        tree([Part(f"a.{HOSTILE}", "4 bits", 9, 1), Part("b", "exact", 1, 1)], CODES, HOSTILE),
        grid("rows", ["module", "code"], [[Cell(HOSTILE), Cell(HOSTILE)]], (), (), [HOSTILE]),
    )
    page = document(HOSTILE, [HOSTILE], [section("One", *parts)], {"name": HOSTILE})
    told = Page(page)
    assert told.tags.count("script") == 2
    assert told.text.count(r'alert("1")</script>&\x1b[31m\udc80') >= 8
    assert told.data == {"name": HOSTILE}
    assert "\x1b" not in page
    page.encode()  # no half of a surrogate pair


def test_a_page_loads_nothing_and_runs_only_its_own_script():
    page = document("title", ["a model"], [section("One", "<p>two</p>")])
    told = Page(page)
    assert told.loads == []
    assert not re.search("https?:|//[a-z]", page.replace("// ", ""))
    policy = next(value for name, value in told.attributes if name == "content" and "default-src" in value)
    script = re.findall("<script>(.*?)</script>", page, re.S)
    assert policy.startswith("default-src 'none';")
    assert policy.endswith(f"sha256-{base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()}'")
    for name, _ in told.attributes:
        assert not name.startswith("on")


def test_model_versions_and_date_stand_on_top():
    import torch

    import gact

    told = Page(document("title", ["Net, 3 parameters", ""], [])).text
    assert f"gact {gact.__version__}" in told
    assert f"torch {torch.__version__}" in told
    assert "Net, 3 parameters" in told
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", told)


def lines(page):
    """Depth, name and figures of each line of a tree."""
    found, depth = [], 0
    for tag, text in re.findall(r"<(/?details|span class=\"(?:name|figures)\")[^>]*>([^<]*(?:<wbr>[^<]*)*)", page):
        depth += {"details": 1, "/details": -1}.get(tag, 0)
        if "name" in tag:
            found.append([depth, text.replace("<wbr>", "")])
        elif "figures" in tag:
            found[-1].append(text)
    return found


def test_a_tree_adds_up_what_lies_inside():
    parts = [Part("a.0", "4 bits", 800, 100), Part("a.1", "exact", 300, 300), Part("", "4 bits", 400, 50)]
    assert lines(tree(parts, CODES, "Net")) == [
        [1, "Net", "1.46 KiB → 450 B, 3.3x"],
        [2, "a", "1.07 KiB → 400 B, 2.8x"],
        [2, "0", "800 B → 100 B, 8.0x"],
        [2, "1", "300 B → 300 B, 1.0x"],
    ]


def test_a_module_that_only_holds_another_stands_in_one_line_with_it():
    assert [name for _, name, *_ in lines(tree([Part("a.b.c", "exact", 8, 8)], CODES, "Net"))] == ["Net.a.b.c"]


def test_many_small_modules_are_added_up():
    parts = [Part(f"layer{at}", "4 bits", 100 if at else 10**6, 10) for at in range(500)]
    shown = lines(tree(parts, CODES, "Net"))
    assert len(shown) < 60
    assert shown[-1][1] == "488 smaller"
    assert shown[-1][2] == "47.7 KiB → 4.77 KiB, 10.0x"


def test_pieces_of_a_bar_are_its_bytes():
    page = tree(
        [Part("a", "4 bits", 600, 60), Part("a", "exact", 200, 200), Part("b", "4 bits", 200, 20)], CODES, "Net"
    )
    widths = re.findall(r'<i class="(\w+)" style="width:([\d.]+)%">', page)
    assert widths[:4] == [("b4", "80.00"), ("keep", "20.00"), ("b4", "8.00"), ("keep", "20.00")]


def test_the_legend_has_the_codes_that_occur():
    assert "exact" not in legend([Part("a", "4 bits", 2**20, 2**17)], CODES)
    assert "4 bits: 1 MiB → 128 KiB" in Page(legend([Part("a", "4 bits", 2**20, 2**17)], CODES)).text


@pytest.mark.parametrize("name", ["page.css", "page.js"])
def test_what_is_copied_into_a_page_ends_no_element(name):
    from gact.page.document import _file

    assert "</" not in _file(name)

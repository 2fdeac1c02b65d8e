"""Files that the docs name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(r"`([\w./-]+\.(?:py|cpp|h|csv|md|toml|yml))`")
FOLDERS = (
    "",
    "src/gact",
    "docs",
    "csrc",
    "csrc/kernels",
    "benchmarks",
    "benchmarks/results",
    "benchmarks/cases",
    "tests",
)
MADE_BY_USERS = {"train.py", "plans.py"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page):
    named = set(NAMED.findall(page.read_text())) - MADE_BY_USERS
    assert [name for name in sorted(named) if not any((ROOT / folder / name).exists() for folder in FOLDERS)] == []


@pytest.mark.parametrize("source", sorted((ROOT / "src/gact").rglob("*.py")), ids=lambda path: path.stem)
def test_every_file_that_a_docstring_names_exists(source):
    places = (source.parent, *(ROOT / folder for folder in FOLDERS))
    named = re.findall(r"``([\w./-]+\.(?:py|cpp|h|md))``", source.read_text())
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_every_room_says_what_it_is_for():
    rooms = [path.parent for path in (ROOT / "src/gact").rglob("*/__init__.py")]
    assert len(rooms) > 10
    for room in rooms:
        named = set(re.findall(r"\w+", " ".join(re.findall(r"``([^`]*)``", docstring(room)))))
        files = {path.stem for path in room.glob("*.py")} - {"__init__", "__main__"}
        assert files - named == set(), room.name


def test_the_map_of_the_sources_is_complete():
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("src/gact/")[2].partition("```")[0]
    there = {
        path.name for path in (ROOT / "src/gact").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert {name for name in there if not name.startswith("__") and name not in page} == set()


@pytest.mark.parametrize(
    ("room", "answer"),
    [
        ("codecs", "To add a code of values"),
        ("operators", "To add an op"),
        ("remat", "To add an op of torch"),
        ("store", "To add a store"),
        ("ops", "To add a backend"),
        ("integrations", "To add an integration"),
    ],
)
def test_a_room_says_how_to_add_to_it(room, answer):
    assert answer in docstring(ROOT / "src/gact" / room)


def docstring(room):
    return (room / "__init__.py").read_text().split('"""')[1]

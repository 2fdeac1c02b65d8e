"""The page of warnings has every warning of the sources and no other; every error is on it by being read off them."""

import re

import pytest
from blocks import DOCS, ROOT

SOURCES = ROOT / "src/gact"


@pytest.fixture(scope="module")
def messages(hooks):
    return hooks("messages")


def test_every_warning_is_on_the_page_and_every_entry_is_a_warning(messages):
    page = (DOCS / "warnings.md").read_text(encoding="utf-8").partition("## Errors")[0]
    entries = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    texts = messages.warnings(SOURCES)
    assert len(texts) > 10
    assert [text for text in texts if not any(text.startswith(entry) for entry in entries)] == []
    assert [entry for entry in entries if sum(text.startswith(entry) for text in texts) != 1] == []


def test_errors_are_read_off_the_sources(messages, tmp_path):
    found = messages.errors(SOURCES)
    assert {"ValueError", "TypeError", "RuntimeError", "StoreError", "UnsupportedError"} <= set(found)
    assert any(text.startswith("bits must be a number from 1 to 8") for text in found["ValueError"])
    (tmp_path / "one.py").write_text(
        'TOLD = "told by name"\nraise OneError(f"got {1}" " here")\nwarn(TOLD)\ngive(f"{2} things")\nwarn(other)\n'
    )
    assert messages.errors(tmp_path) == {"OneError": ["got … here"]}
    assert messages.warnings(tmp_path) == ["told by name", "… things"]


def test_advice_that_the_page_of_advice_names_is_that_of_the_sources():
    given = set(re.findall(r'"([a-z]+)",\s*_?[A-Z]+,', (SOURCES / "report/advice.py").read_text(encoding="utf-8")))
    given |= set(re.findall(r'Advice\(\s*"([a-z]+)"', (SOURCES / "report/advice.py").read_text(encoding="utf-8")))
    told = set(re.findall(r"^\| `([a-z]+)` \|", (DOCS / "training.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert given == told

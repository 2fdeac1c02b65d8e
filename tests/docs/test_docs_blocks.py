"""Every Python block of the README and of the pages runs as it is printed, those of a page one after the other."""

import pytest
import readers
from blocks import DOCS, ROOT, blocks

PAGES = [page for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))] if blocks(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).with_suffix("").as_posix())
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = readers.names(page.relative_to(ROOT).with_suffix("").as_posix())
    for number, code in enumerate(blocks(page), 1):
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)

"""Every Python block of the README and of the pages runs as it is printed, those of a page one after the other."""

import pytest
import readers
import torch
import torch._functorch.config
from blocks import DOCS, ROOT, blocks

import gact

PAGES = [page for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))] if blocks(page)]


def name_of(page):
    return page.relative_to(ROOT).with_suffix("").as_posix()


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A folder of its own, and what a page leaves in the process taken back: settings of torch, a process group."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    with torch._functorch.config.patch(donated_buffer=torch._functorch.config.donated_buffer):
        yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("alone", "capsys")
@pytest.mark.filterwarnings("error::gact.GactWarning", "ignore:.*saves no memory.*lies in memory")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_blocks_of_a_page_run(page):
    names = readers.names(name_of(page))
    for number, code in enumerate(blocks(page), 1):
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)
    compressor = names.get("compressor")
    if isinstance(compressor, gact.Compressor) and compressor.report().rows:
        assert compressor.report().ratio > 3


def test_guides_have_no_code_that_is_not_run():
    """A block without a language is not run, nor is one that is indented only."""
    for page in sorted((DOCS / "guides").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        assert "\n\n    " not in text.replace("\n\n    *", ""), page.name
        assert "\n```\n\n```\n" not in text, page.name

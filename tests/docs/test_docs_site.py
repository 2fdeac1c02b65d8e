"""The site builds as ``make docs`` builds it, has every public name, and asks for nothing from the network."""

import os
import re
import subprocess
import sys
import zlib

import pytest
from blocks import ROOT

import gact

_FETCHED = re.compile(
    r'<(?:script|img|iframe)[^>]*\ssrc="?(?:https?:)?//'
    r'|<link[^>]*rel="?(?:stylesheet|preconnect|icon)"?[^>]*href="?(?:https?:)?//'
)


def built(folder, site):
    """What the build of ``make docs`` tells of the configuration in a folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True)


def test_the_site_builds_without_a_warning_and_is_complete(tmp_path):
    site = tmp_path / "site"
    told = built(ROOT, site)
    assert told.returncode == 0, told.stderr
    assert "WARNING" not in told.stderr
    assert "mkdocs build --strict\n" in (ROOT / "Makefile").read_text(encoding="utf-8")

    pages = {page.relative_to(site).as_posix(): page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert len(pages) > 20
    assert {name for name, text in pages.items() if _FETCHED.search(text)} == set()
    assert "gact bench max-batch" in pages["cli.html"]
    assert "must be a number from 1 to 8" in pages["warnings.html"]
    assert {name for name, text in pages.items() if re.search("<!-- (commands|errors|README)", text)} == set()

    named = inventory(site / "objects.inv")
    assert {f"gact.{name}" for name in gact.__all__ if name != "__version__"} - named == set()
    assert {name for name in named if re.search(r"\._(?!_)", name)} == set()


@pytest.mark.parametrize("link", ["nothing.md", "#nothing", "/absolute.md"])
def test_a_broken_link_ends_the_build(tmp_path, link):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# one\n\n[broken]({link})\n")
    validation = re.search(
        r"^validation:\n(?:  .*\n)+", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE
    )
    (tmp_path / "mkdocs.yml").write_text(f"site_name: one\ntheme: {{name: mkdocs}}\nplugins: []\n{validation[0]}")
    told = built(tmp_path, tmp_path / "site")
    assert told.returncode != 0
    assert told.stderr.count("WARNING") == 1


def inventory(path):
    """The names that the site documents."""
    compressed = path.read_bytes().split(b"\n", 4)[4]
    return {line.split(" ")[0] for line in zlib.decompress(compressed).decode().splitlines()}


def test_make_help_names_the_site():
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "make docs: " in told.stdout


def test_a_page_that_shows_a_section_of_the_readme_that_is_gone_is_an_error(hooks):
    module = hooks("root_pages")
    assert module.section("# a\n\n## One\n\ntext\n\n### deeper\n\n## Two\n", "One") == "text\n\n### deeper"
    with pytest.raises(Exception, match=r"README\.md has no section 'Three'"):
        module.section("# a\n\n## One\n", "Three")

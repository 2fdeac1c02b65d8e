"""What lies in the root of the repository: CONTRIBUTING and CHANGELOG as pages, sections of README inside of pages."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")
_MARK = re.compile(r"<!-- README: (.+?) -->")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds those pages, with links as they are from ``docs/``."""
    for name in _PAGES:
        files.append(File.generated(config, name.lower(), content=_read(config, name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts a section of README where a page in ``docs/`` asks for it by its heading."""
    return _MARK.sub(lambda found: section(_read(config, "README.md"), found[1]), markdown)


def section(text: str, heading: str) -> str:
    """What stands below a heading of the second level.

    Raises:
        PluginError: If there is none of that name.
    """
    _, found, rest = text.partition(f"\n## {heading}\n")
    if not found:
        raise PluginError(f"README.md has no section {heading!r}, which a page of docs/ shows. Name it as it is there.")
    return rest.partition("\n## ")[0].strip()


def _read(config: MkDocsConfig, name: str) -> str:
    text = (Path(config.config_file_path).parent / name).read_text(encoding="utf-8")
    return text.replace("](docs/", "](").replace("[`docs/", "[`")

"""Pages of the site that lie in the root of the repository: CONTRIBUTING and CHANGELOG."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds those pages, with links as they are from ``docs/``."""
    root = Path(config.config_file_path).parent
    for name in _PAGES:
        text = (root / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name.lower(), content=text))
    return files

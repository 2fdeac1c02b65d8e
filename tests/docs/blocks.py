"""Python blocks of pages."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^( *)```(python|diff)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def blocks(page):
    """The blocks of a page in order, as code; a diff stands for what it makes of the lines."""
    found = []
    for indent, language, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        lines = [line.removeprefix(indent) for line in text.splitlines()]
        if language == "diff":
            lines = [line[2:] for line in lines if not line.startswith("-")]
        found.append("\n".join(lines))
    return found

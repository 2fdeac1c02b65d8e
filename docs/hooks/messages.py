"""The texts of errors and warnings, read off the sources, with an ellipsis for each value."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

MARK = "<!-- errors -->"
_WARNERS = ("give", "warn", "_warn")
_ELSEWHERE = ("cli", "demo", "compat.py")
"""Rooms whose messages end a command, or stand beside those of others."""


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the errors where a page asks for them."""
    if MARK not in markdown:
        return markdown
    root = Path(config.config_file_path).parent / "src/gact"
    found = [f"### {name}\n\n" + "\n".join(f"- {text}" for text in texts) for name, texts in errors(root).items()]
    return markdown.replace(MARK, "\n\n".join(found))


def errors(root: Path) -> dict[str, list[str]]:
    """The texts of errors under a folder, by class, in the order of the files."""
    found: dict[str, list[str]] = defaultdict(list)
    for call in _calls(root):
        name = _name(call)
        text = _text(call.args[0]) if call.args else ""
        if name.endswith("Error") and " " in text and text not in found[name]:
            found[name].append(text.replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;"))
    return dict(sorted((name, texts) for name, texts in found.items() if texts))


def warnings(root: Path) -> list[str]:
    """The texts of warnings under a folder."""
    texts = [_text(call.args[0]) for call in _calls(root) if _name(call) in _WARNERS and call.args]
    return sorted({text for text in texts if "gact" in text or " " in text})


def _calls(root: Path) -> Iterator[ast.Call]:
    paths = [path for path in sorted(root.rglob("*.py")) if path.relative_to(root).parts[0] not in _ELSEWHERE]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    named = dict(pair for tree in trees for pair in _named(tree))
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Name) and first.id in named:
                    node.args[0] = named[first.id]
                yield node


def _named(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """What a module gives a name in capitals."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            yield node.targets[0].id, node.value


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _text(node: ast.AST) -> str:
    """A text with an ellipsis for each value in it; empty if it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""

"""The page of the commands, made of the options that they really have."""

from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the commands where a page asks for them."""
    if MARK not in markdown:
        return markdown
    import typer

    from gact.cli.app import app

    return markdown.replace(MARK, "\n\n".join(_described(typer.main.get_command(app), "gact")))


def _described(command: Any, name: str) -> Iterator[str]:
    """A command or a group of commands, in Markdown."""
    commands = getattr(command, "commands", {})
    if not commands:
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option"]
        yield f"## {name}"
        yield "\n\n".join(_paragraph(each) for each in str(command.help).split("\n\n"))
        yield f"```text\n{' '.join([name, '[OPTIONS]', *(_metavar(each) for each in arguments)])}\n```"
        yield _table("argument", [(_metavar(each), _told(each)) for each in arguments])
        yield _table("option", [(_names(each), _told(each)) for each in options])
    for word, each in commands.items():
        yield from _described(each, f"{name} {word}")


def _paragraph(text: str) -> str:
    """A part of a help text; one whose lines are not to be joined is code."""
    return f"```python\n{text[1:].strip()}\n```" if text.startswith("\b") else text.strip()


def _table(head: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    return "\n".join([f"| {head} | meaning |", "|---|---|", *(f"| `{name}` | {told} |" for name, told in rows)])


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    plain = ", ".join(option.opts)
    return f"{plain} / {', '.join(option.secondary_opts)}" if option.secondary_opts else plain


def _told(parameter: Any) -> str:
    told = str(parameter.help or "").replace("|", "\\|")
    default = parameter.default
    if default is None or callable(default) or (default is False and not getattr(parameter, "secondary_opts", [])):
        return told
    return f"{told} Default: `{default}`." if str(default) not in ("", "[]") else told

"""The page around its sections."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

import torch

from ..text import version
from .markup import element, text


def section(heading: str, *content: str) -> str:
    """A part of the page under a heading of its own."""
    name = re.sub(r"[^a-z]+", "-", heading.lower()).strip("-")
    return element("section", element("h2", text(heading), id=name), *content, aria_labelledby=name)


def document(title: str, facts: Sequence[str], sections: Sequence[str], data: Any = None) -> str:
    """A complete page without outside files; what it may load and run is closed to all but its own script.

    Args:
        title: Of the window and of the page.
        facts: What the page is about, as the model; versions and the date are added.
        sections: HTML of each.
        data: What the script reads, as JSON takes it.
    """
    style, script = _file("page.css"), _file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src blob: data:; script-src 'sha256-{digest}'"
    now = datetime.now().astimezone()
    told = [*facts, f"gact {version()}", f"torch {torch.__version__}", f"{now:%Y-%m-%d %H:%M}"]
    head = (
        element("meta", charset="utf-8"),
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", text(title)),
        element("style", style),
    )
    header = element(
        "header",
        element("h1", text(title)),
        element("ul", *(element("li", text(each)) for each in told if each), class_="facts"),
    )
    body = (
        header,
        element("main", *sections),
        element("script", _inert(data), type="application/json", id="data"),
        element("script", script),
    )
    return (
        "<!doctype html>\n"
        + element("html", element("head", *head), "\n", element("body", "\n".join(body)), lang="en")
        + "\n"
    )


def _inert(data: Any) -> str:
    """Data as JSON in which nothing ends the element that it stands in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")

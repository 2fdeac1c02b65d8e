"""Reads a page as a browser does, as far as the tests need it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

VOID = ("br", "input", "meta", "wbr")
LOADING = ("src", "href", "srcset", "action", "poster", "xlink:href")


class Page(HTMLParser):
    """The text, elements and tables of a page; its tags must be balanced.

    Attributes:
        tags: Names of all elements.
        attributes: Pairs of name and value of all elements' attributes.
        text: All that is read, without scripts and styles.
        tables: Rows of cells, by the label of the table.
        data: What the script reads.
        style: The style sheet.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.data, self.style = None, ""
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._read: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []
        self.text = re.sub(r"\s+", " ", "".join(self._read))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)
        if tag == "div" and dict(attrs).get("role") == "region":
            self._rows = self.tables[dict(attrs)["aria-label"]] = []
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th") and self._rows:
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag not in ("wbr", "i", "b", "span", "small", "strong", "code"):
            self._read.append(" ")

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ""
        if inside == "style":
            self.style += data
        elif inside == "script":
            self.data = json.loads(data) if data.startswith(("{", "null")) else self.data
        else:
            self._read.append(data)
            if {"td", "th"} & set(self._open) and self._rows:
                self._rows[-1][-1] += data

    @property
    def loads(self) -> list[str | None]:
        """What a browser would fetch."""
        found = [value for name, value in self.attributes if name in LOADING]
        return found + re.findall(r"url\([^)]*\)|@import[^;]*", self.style)

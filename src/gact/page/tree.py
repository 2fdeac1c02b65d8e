"""Modules as a tree: of each, plain and kept bytes as bars, coloured by the codes that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..text import sized
from .markup import breakable, element, text

_MOST, _SMALL = 40, 0.002
"""So many modules are shown in one group, and smaller ones than this share of all are added up from the 13th on."""
_ANYWAY = 12


class Part(NamedTuple):
    """Bytes of one module in one code.

    Attributes:
        path: The module's.
        code: What holds them.
        plain: Bytes that plain autograd keeps.
        kept: Bytes that are held instead.
    """

    path: str
    code: str
    plain: int
    kept: int


@dataclass(slots=True)
class _Node:
    """A module and what lies in it; bytes by code."""

    name: str
    plain: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    inside: dict[str, _Node] = field(default_factory=dict)

    def add(self, code: str, plain: int, kept: int) -> None:
        self.plain[code] = self.plain.get(code, 0) + plain
        self.kept[code] = self.kept.get(code, 0) + kept

    @property
    def size(self) -> int:
        return max(sum(self.plain.values()), sum(self.kept.values()))


def tree(parts: Iterable[Part], codes: Mapping[str, str], name: str) -> str:
    """The tree.

    Args:
        parts: What is held.
        codes: The class of the colour of each code, in the order of bars.
        name: Of the whole model.
    """
    whole = _Node(name)
    for part in parts:
        node = whole
        node.add(part.code, part.plain, part.kept)
        for each in part.path.split(".") if part.path else ():
            node = node.inside.setdefault(each, _Node(each))
            node.add(part.code, part.plain, part.kept)
    return element("div", _drawn(whole, codes, whole.size, max(whole.size, 1), True), class_="tree")


def legend(parts: Iterable[Part], codes: Mapping[str, str]) -> str:
    """The codes that occur, with the colour and the bytes of each."""
    whole = _Node("")
    for part in parts:
        whole.add(part.code, part.plain, part.kept)
    found = []
    for code, style in codes.items():
        plain, kept = whole.plain.get(code, 0), whole.kept.get(code, 0)
        if plain or kept:
            sizes = f" {text(code)}: {sized(plain)} → {sized(kept)}"
            found.append(element("li", element("i", class_=style), sizes))
    return element("ul", *found, class_="codes")


def _drawn(node: _Node, codes: Mapping[str, str], all_bytes: int, scale: int, is_open: bool) -> str:
    """A module and those inside; ``scale`` bytes are a bar of full length."""
    names = [node.name]
    while len(node.inside) == 1:  # a module that only holds another one stands in one line with it
        (inner,) = node.inside.values()
        if (inner.plain, inner.kept) != (node.plain, node.kept):
            break
        node = inner
        names.append(node.name)
    head = _line(".".join(names), node, codes, scale)
    if not node.inside:
        return element("div", head, class_="leaf")
    order = sorted(node.inside.values(), key=lambda each: -each.size)
    shown = [each for at, each in enumerate(order[:_MOST]) if at < _ANYWAY or each.size > _SMALL * all_bytes]
    rest = order[len(shown) :]
    widest = max(order[0].size, 1)
    inside = [_drawn(each, codes, all_bytes, widest, False) for each in shown]
    if rest:
        other = _Node(f"{len(rest)} smaller")
        for each in rest:
            for code in each.plain:
                other.add(code, each.plain[code], each.kept[code])
        inside.append(element("div", _line(other.name, other, codes, widest), class_="leaf"))
    return element("details", element("summary", head), element("div", *inside, class_="inside"), open=is_open)


def _line(name: str, node: _Node, codes: Mapping[str, str], scale: int) -> str:
    plain, kept = sum(node.plain.values()), sum(node.kept.values())
    figures = f"{sized(plain)} → {sized(kept)}"
    if kept and plain:
        figures += f", {plain / kept:.1f}x"
    bars = _bar(node.plain, codes, scale) + _bar(node.kept, codes, scale)
    return (
        element("span", breakable(name), class_="name")
        + element("span", figures, class_="figures")
        + element("span", bars, class_="bars", aria_hidden="true")
    )


def _bar(sizes: Mapping[str, int], codes: Mapping[str, str], scale: int) -> str:
    """One bar; pieces of nothing are left out."""
    pieces: Sequence[str] = [
        element("i", class_=style, style=f"width:{100 * sizes[code] / scale:.2f}%")
        for code, style in codes.items()
        if sizes.get(code, 0) > scale / 10_000
    ]
    return element("span", *pieces, class_="bar")

"""Elements of HTML. What is no markup goes through ``text`` or an attribute, which escape it."""

from __future__ import annotations

import re
from html import escape

from ..text import printable

_VOID = {"br", "input", "meta", "wbr"}


def text(value: str) -> str:
    """A string as it is read: markup in it is escaped, control characters are written out."""
    return escape(printable(value))


def breakable(value: str) -> str:
    """The same with places where a narrow column may break it: after the dots and underscores of a long name."""
    return re.sub(r"([._])(?=[^\W\d])", r"\1<wbr>", text(value))


def element(tag: str, *content: str, **attributes: str | float | bool | None) -> str:
    """An element.

    Args:
        tag: Its name.
        *content: HTML inside.
        **attributes: Strings and numbers are escaped, True stands without a value, False and None are left out;
            ``class_`` gives ``class``, and ``_`` otherwise ``-``.
    """
    parts = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        parts.append(name if value is True else f'{name}="{text(str(value))}"')
    opened = f"<{' '.join(parts)}>"
    return opened if tag in _VOID else f"{opened}{''.join(content)}</{tag}>"

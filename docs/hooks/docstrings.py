"""Docstrings of this package announce a block of code with two colons; Markdown wants one."""

import re
from typing import Any

import griffe


class OneColon(griffe.Extension):
    """Takes the second colon away."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Mends the docstring of a module, class or function."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"::$", ":", obj.docstring.value, flags=re.MULTILINE)

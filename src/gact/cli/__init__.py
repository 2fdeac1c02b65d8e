"""The command line, ``gact``: it reads options, calls the library and prints.

* ``app``: the commands; each has a file: ``doctor``, ``demo``, ``plan``, ``profile``, ``sensitivity``, ``max_batch``.
* ``facts``, ``selftest``: what ``doctor`` tells and tests. ``picture``: checks a path. ``extras``: what to install.
  ``script``: a user's script under ``profile``.

typer and rich come with an extra, so they are imported only when a command runs.
"""

from __future__ import annotations

from ..errors import MissingExtraError
from .extras import require


def main() -> None:
    """Entry point of the ``gact`` command."""
    try:
        require("cli")
    except MissingExtraError as error:
        raise SystemExit(str(error)) from None
    from .app import app

    app()


__all__ = ["main"]

"""What to show of an error in a user's code: the traceback from the user's first line on; wrong arguments."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

_LIBRARY = Path(inspect.__file__).parent
_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_AROUND = (
    _OURS,
    f"{Path(torch.__file__).parent}{os.sep}",
    "<frozen ",
    *(str(_LIBRARY / name) for name in ("importlib", "runpy.py", "concurrent", "multiprocessing", "contextlib.py")),
)


def users_traceback(error: BaseException) -> str:
    """The traceback without the lines of this package, of torch, and of what imports and runs code.

    Args:
        error: What was raised. If none of the user's lines is in it, the error alone is told.
    """
    lines = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(_AROUND)]
    told = "".join(traceback.format_exception_only(type(error), error)).strip()
    if not lines:
        return told
    return f"Traceback (most recent call last):\n{''.join(traceback.format_list(lines))}{told}"


def is_users(error: BaseException) -> bool:
    """Whether an error was raised by other code than this package's."""
    found = error.__traceback__
    while found is not None and found.tb_next is not None:
        found = found.tb_next
    return found is None or not found.tb_frame.f_code.co_filename.startswith(_OURS)


def mismatch(function: Callable[..., Any], arguments: tuple[Any, ...], named: Mapping[str, Any]) -> str | None:
    """Why a function cannot be called with such arguments, with its signature; None if it can, or nobody knows."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        shown = ", ".join(str(each.replace(annotation=each.empty)) for each in signature.parameters.values())
        return f"({shown}): {error}"
    return None

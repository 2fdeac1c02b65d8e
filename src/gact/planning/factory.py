"""Finds the function that a command line names to make a model and a batch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from ..errors import GactError
from .failures import mismatch, users_traceback
from .subject import LossFunction


class FactoryError(GactError, ValueError):
    """A factory cannot be found, or returns something else than a model and a batch; the message says what to do."""


def load_factory(name: str) -> Callable[..., Any]:
    """The function of a name such as ``package.module:factory``; the current directory is searched too.

    Raises:
        FactoryError: If there is none.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise FactoryError(f"the factory must be named as package.module:function, got {name!r}.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    module = _imported(module_name)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        known = ", ".join(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise FactoryError(f"{module_name} has no function {attribute!r}. It has {known or 'none'}.")
    found: Callable[..., Any] = factory
    return found


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise FactoryError(
                f"{name} cannot be imported: {error}. Name a module in the current directory or on PYTHONPATH."
            ) from error
        raise FactoryError(f"{name} failed while it was imported:\n{users_traceback(error)}") from error


def call_factory(name: str, *arguments: Any) -> tuple[nn.Module, Any, LossFunction | None]:
    """The model, the batch and the loss function, or None, that a factory makes.

    Args:
        name: As in ``load_factory``.
        *arguments: What the factory is called with.

    Raises:
        FactoryError: If there is no such factory, it fails, or it returns something else.
    """
    factory = load_factory(name)
    if told := mismatch(factory, arguments, {}):
        wanted = "be called with the batch size alone" if arguments else "be called without arguments"
        raise FactoryError(f"{name} must {wanted}; it is {name.partition(':')[2]}{told}.")
    try:
        made = factory(*arguments)
    except Exception as error:
        raise FactoryError(f"{name} failed:\n{users_traceback(error)}") from error
    if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[0], nn.Module):
        shown = f"a tuple of {len(made)}" if isinstance(made, tuple) else type(made).__name__
        raise FactoryError(f"{name} must return (model, batch) or (model, batch, loss_fn), got {shown}.")
    if not isinstance(made[1], (Tensor, tuple, list, Mapping)):
        raise FactoryError(
            f"the batch that {name} returns must be a tensor, a tuple or a dictionary, got {type(made[1]).__name__}."
        )
    return made[0], made[1], made[2] if len(made) == 3 else None

"""What the callbacks of all trainers share: a compressor that is made when the model is known, and its state."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..compressor import Compressor

_NEEDS_MODEL = ("checkpoint", "compress_again")


_MARK = "_is_of_gact"


def compressing(plain: Callable[..., Any], compressor: Compressor, model: nn.Module) -> Callable[..., Any]:
    """A function that runs another inside of the context of a compressor where its model trains.

    Args:
        plain: The other.
        compressor: The compressor.
        model: The model. Nothing is compressed while it evaluates, or where no gradients are wanted.
    """

    @functools.wraps(plain)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not (torch.is_grad_enabled() and model.training):
            return plain(*args, **kwargs)
        with compressor:
            return plain(*args, **kwargs)

    return mark(run)


def mark(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a function that stands in for another, so that it is known again."""
    setattr(function, _MARK, True)
    return function


def put_in(owner: Any, name: str, function: Callable[..., Any]) -> None:
    """Has a function stand in for an object's own, past what its class does when attributes are set."""
    vars(owner)[name] = function


def take_out(owner: Any, name: str) -> None:
    """Leaves an object as it was, unless somebody has put another function there."""
    if getattr(vars(owner).get(name), _MARK, False):
        del vars(owner)[name]


class Holder:
    """Makes a compressor for a model, another one for another model, and carries state from run to run.

    Args:
        options: Arguments of ``gact.Compressor``, without the model.

    Raises:
        TypeError: If ``model`` is among them: the trainer has it.
        ValueError: If an argument is out of range.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        if "model" in options:
            raise TypeError("model is not an argument of the callback, which gets it from the trainer. Leave it out.")
        Compressor(None, **{name: value for name, value in options.items() if name not in _NEEDS_MODEL})
        self.options = options
        self._compressor: Compressor | None = None
        self._model: nn.Module | None = None
        self._pending: Mapping[str, Any] | None = None

    @property
    def compressor(self) -> Compressor:
        """The compressor.

        Raises:
            RuntimeError: If training has not begun, so that there is none.
        """
        if self._compressor is None:
            raise RuntimeError("there is no compressor yet: it is made when training begins. Ask afterwards.")
        return self._compressor

    def take(self, model: nn.Module) -> Compressor:
        """The compressor of a model; the one there is, if it is the same model."""
        if self._compressor is None or self._model is not model:
            self._compressor, self._model = Compressor(model, **self.options), model
        pending, self._pending = self._pending, None
        if pending is not None:
            self._compressor.load_state_dict(pending)
        return self._compressor

    def state(self) -> dict[str, Any] | None:
        """The state of the compressor, or what is to become it; None if there is nothing."""
        if self._compressor is not None and self._pending is None:
            return self._compressor.state_dict()
        return None if self._pending is None else dict(self._pending)

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Has a state taken up as soon as there is a compressor.

        Args:
            state: What ``state`` returned.
        """
        self._pending = state

    def metrics(self) -> dict[str, float]:
        """The figures of the last step; empty if there are none."""
        return {} if self._compressor is None else self._compressor.metrics()

"""What the callbacks of all trainers share: a compressor that is made when the model is known, and its state."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..compressor import Compressor

_NEEDS_MODEL = ("checkpoint", "compress_again")


class StandIn:
    """What stands in for a method of one object until it is taken out again.

    Copies of the object, and what is pickled of it, get the method itself: ours would work on the original.

    Args:
        owner: The object. What its class does when attributes are set is passed by.
        name: The name of the method.
        around: Makes the function that runs instead, of the method.
    """

    def __init__(self, owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        plain = getattr(owner, name)
        functools.update_wrapper(self, plain)
        self._owner, self._name, self._plain, self._run = owner, name, plain, around(plain)
        self._had = name in vars(owner)
        vars(owner)[name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs what stands in, or the method itself once it was taken out."""
        return self._run(*args, **kwargs)

    def take_out(self) -> None:
        """Leaves the object as it was; where somebody has put another function on top, this one does nothing more."""
        self._run = self._plain
        if vars(self._owner).get(self._name) is not self:
            return
        if self._had:
            vars(self._owner)[self._name] = self._plain
        else:
            del vars(self._owner)[self._name]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._plain, memo)  # a bound method is copied with what it is bound to

    def __reduce__(self) -> Any:
        if self._had:
            return _same, (self._plain,)
        return _method, (self._owner, type(self._owner), self._name)


def _same(each: Any) -> Any:
    return each


def _method(owner: Any, kind: type, name: str) -> Any:
    """The method of an object that may be in the making."""
    return getattr(kind, name).__get__(owner)


def take_out(owner: Any, *names: str) -> None:
    """Leaves an object without what stands in for its methods of these names, unless somebody has put more on top."""
    for name in names:
        while isinstance(found := vars(owner).get(name), StandIn):
            found.take_out()


class Holder:
    """Makes a compressor for a model, another one for another model, and carries state from run to run.

    Args:
        options: Arguments of ``gact.Compressor``, without the model.

    Raises:
        TypeError: If ``model`` is among them: the trainer has it.
        ValueError: If an argument is out of range.

    Attributes:
        is_used: Whether anything ran inside of the context since ``compressing`` was called.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        if "model" in options:
            raise TypeError("model is not an argument of the callback, which gets it from the trainer. Leave it out.")
        Compressor(None, **{name: value for name, value in options.items() if name not in _NEEDS_MODEL})
        self.options = options
        self.is_used = False
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

    def compressing(self, model: nn.Module | None = None) -> Callable[..., Callable[..., Any]]:
        """What has a function run inside of the context of the compressor of now.

        Args:
            model: The model, where nothing is to be compressed while it evaluates. Nothing is where no gradients are
                wanted.
        """
        compressor, self.is_used = self.compressor, False

        def around(plain: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                if not torch.is_grad_enabled() or (model is not None and not model.training):
                    return plain(*args, **kwargs)
                self.is_used = True
                with compressor:
                    return plain(*args, **kwargs)

            return run

        return around

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

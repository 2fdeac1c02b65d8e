"""What is planned for: a model, a batch and a loss, and how to run them at any size without data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..autograd.internals import tree_leaves, tree_map
from .failures import mismatch
from .fakes import Fakes

LossFunction = Callable[[Any, Any], Tensor]
TARGETS = ("target", "targets", "label", "labels", "y", "y_true")
"""Names of the second parameter of a loss function that takes what the model returns, and targets."""


class Subject:
    """A copy of the model without data, with batches of any size.

    Args:
        model: The network.
        inputs: A batch: a tensor, a tuple of positional or a mapping of keyword arguments.
        loss_fn: Called with the model and the inputs; returns the loss. If its second parameter is named as in
            ``TARGETS``, as in torch's own losses, the batch is a pair of inputs and targets, and it is called with
            what the model returns and the targets. None to run the model on the inputs and take its ``loss``, or its
            result if that is one number.
        device: Device that the copies pretend to be on; None for their own.
        sequence_dim: Dimension of the sequence; None to take that of token ids.

    Attributes:
        model: The copy.
        mode: The mode to run it under.
        batch: Samples in the batch.
        length: Length of the sequence; None if there is none.

    Raises:
        TypeError: If ``model`` is no module.
        ValueError: If ``inputs`` has no tensor, or the model cannot be copied.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        loss_fn: LossFunction | None = None,
        device: torch.device | None = None,
        sequence_dim: int | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
        tensors = [leaf for leaf in _leaves(inputs) if isinstance(leaf, Tensor) and leaf.dim()]
        if not tensors:
            raise ValueError(
                f"inputs must hold a tensor with a batch dimension, got {type(inputs).__name__} without one. Pass a "
                "batch as the model takes it: a tensor, a tuple or a dictionary."
            )
        self._fakes = Fakes(device)
        self._inputs = inputs
        self._loss_fn = loss_fn
        self.mode = self._fakes.mode
        self.model = self._fakes.model(model)
        self.batch = tensors[0].shape[0]
        self.length = _length(tensors, sequence_dim)

    def inputs(self, batch: int | None = None, length: int | None = None) -> Any:
        """The batch without data, with another number of samples or another length.

        In every tensor the first dimension is that of the samples if it is as long, and of the others those are of
        the sequence that are as long as it.
        """

        def copied(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            size = [
                self._other(at, extent, batch or self.batch, length or self.length)
                for at, extent in enumerate(leaf.shape)
            ]
            return self._fakes.tensor(leaf, None if size == list(leaf.shape) else tuple(size))

        return tree_map(copied, dict(self._inputs) if isinstance(self._inputs, Mapping) else self._inputs)

    def _other(self, at: int, extent: int, batch: int, length: int | None) -> int:
        if at == 0:
            return batch if extent == self.batch else extent
        return length if length is not None and extent == self.length else extent

    def loss(self, inputs: Any) -> Tensor:
        """The loss of a batch."""
        return loss_of(self.model, inputs, self._loss_fn)


def loss_of(model: nn.Module, inputs: Any, loss_fn: LossFunction | None = None) -> Tensor:
    """The loss of a model on a batch, as ``Subject`` describes it.

    Raises:
        ValueError: If what comes out is no loss.
    """
    if loss_fn is not None and takes_targets(loss_fn):
        if not isinstance(inputs, (tuple, list)) or len(inputs) != 2:
            raise ValueError(f"a loss_fn of outputs and targets needs a batch (inputs, targets), got {_shown(inputs)}.")
        result = _called(loss_fn, _run(model, inputs[0]), inputs[1])
        what = "loss_fn returned"
    elif loss_fn is not None:
        result = _called(loss_fn, model, inputs)
        what = "loss_fn returned"
    else:
        output = _run(model, inputs)
        found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        result = output if found is None else found
        what = f"{type(model).__name__} returned"
    if not isinstance(result, Tensor) or result.numel() != 1 or not result.requires_grad:
        shown = f"a tensor of shape {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise ValueError(
            f"backward needs a loss: one number with a gradient; {what} {shown}. Pass loss_fn, which is called with "
            "the model and the inputs and returns the loss, or labels if the model makes a loss of them."
        )
    return result


def takes_targets(loss_fn: LossFunction) -> bool:
    """Whether a loss function is of outputs and targets, by the name of its second parameter."""
    try:
        names = list(inspect.signature(loss_fn.forward if isinstance(loss_fn, nn.Module) else loss_fn).parameters)
    except (TypeError, ValueError):
        return False
    return len(names) > 1 and names[1] in TARGETS


def _run(model: nn.Module, inputs: Any) -> Any:
    """What a model returns for a batch.

    Raises:
        ValueError: If it takes other arguments.
    """
    arguments = () if isinstance(inputs, Mapping) else tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    named = dict(inputs) if isinstance(inputs, Mapping) else {}
    try:
        return model(*arguments, **named)
    except TypeError as error:
        if told := mismatch(model.forward, arguments, named):
            raise ValueError(
                f"the batch is {_shown(inputs)}, and the model is {type(model).__name__}.forward{told}. Make the batch "
                "what the model takes; if it has targets too, make it (inputs, targets) and return a loss_fn, such as "
                "torch.nn.CrossEntropyLoss()."
            ) from error
        raise


def _called(loss_fn: LossFunction, *arguments: Any) -> Any:
    function = loss_fn.forward if isinstance(loss_fn, nn.Module) else loss_fn
    try:
        return loss_fn(*arguments)
    except TypeError as error:
        if told := mismatch(function, arguments, {}):
            raise ValueError(
                f"loss_fn must take (model, inputs) or (outputs, targets); it is loss_fn{told}."
            ) from error
        raise


def _shown(inputs: Any) -> str:
    if isinstance(inputs, Mapping):
        return f"a mapping of {', '.join(map(str, inputs))}"
    if isinstance(inputs, Tensor):
        return "one tensor"
    return f"a tuple of {len(inputs)}" if isinstance(inputs, (tuple, list)) else f"a {type(inputs).__name__}"


def _leaves(inputs: Any) -> list[Any]:
    found: list[Any] = tree_leaves(dict(inputs) if isinstance(inputs, Mapping) else inputs)
    return found


def _length(tensors: list[Tensor], sequence_dim: int | None) -> int | None:
    """Length of the sequence: of the dimension named, or of the second one of the first integers that have two."""
    if sequence_dim is not None:
        if not 0 < sequence_dim < tensors[0].dim():
            raise ValueError(
                f"sequence_dim must be a dimension after the first of the first tensor of inputs, whose shape is "
                f"{list(tensors[0].shape)}; got {sequence_dim}."
            )
        return tensors[0].shape[sequence_dim]
    ids = [tensor for tensor in tensors if tensor.dim() > 1 and tensor.dtype in (torch.int32, torch.int64)]
    return ids[0].shape[1] if ids and ids[0].shape[0] == tensors[0].shape[0] else None

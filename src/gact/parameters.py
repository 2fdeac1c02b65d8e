"""Tells a weight from an activation.

NOTE: How a weight is recognised
``F.linear`` saves ``W.t()``, a view that is no ``nn.Parameter``; autocast saves a fresh low-precision copy at
another address; ``.to()``, resharding and LoRA merging move weights. So four signs are used, none of which is an
address remembered from an earlier step: the tensor is itself a leaf that needs a gradient; its storage is one of the
model's parameters or buffers, read afresh when the outermost context opens; its ``grad_fn`` leads through views and
casts to ``AccumulateGrad``; or, for a frozen weight under autocast, which has no ``grad_fn``, an argument of the
running op is a parameter of the same number of elements in another dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .needs import Arguments

_VIEWS_AND_CASTS = """
    ToCopy T Transpose Permute View UnsafeView ReshapeAlias Slice Select Split
    SplitWithSizes UnsafeSplit Narrow Expand Unsqueeze Squeeze AsStrided Alias Clone
    Unbind Diagonal Conj Unfold
"""
_PASS_THROUGH = frozenset(f"{name}Backward{number}" for name in _VIEWS_AND_CASTS.split() for number in (0, 1))


PLAIN = (Tensor, torch.nn.Parameter, torch.nn.Buffer)
"""Classes of tensors whose storage may be looked at."""


class Parameters:
    """The storages of a model's parameters and buffers, as they are now.

    Args:
        model: The model, or None if only the autograd graph can tell.
    """

    def __init__(self, model: torch.nn.Module | None) -> None:
        self._storages: set[int] = set()
        if model is not None:
            for tensor in (*model.parameters(), *model.buffers()):
                if type(tensor) in PLAIN and tensor.layout is torch.strided:
                    self._storages.add(tensor.untyped_storage()._cdata)

    def owns(self, tensor: Tensor) -> bool:
        """Whether the tensor is a parameter, or lies in the storage of a parameter or buffer of the model."""
        return type(tensor) is torch.nn.Parameter or tensor.untyped_storage()._cdata in self._storages

    def reason(self, tensor: Tensor, arguments: Arguments) -> str:
        """Why a tensor is no activation: "parameter", "leaf", or "" if it is one.

        Args:
            tensor: A strided tensor as autograd hands it to the pack hook.
            arguments: Arguments of the op that saves it.
        """
        base = tensor._base
        if isinstance(base, torch.nn.Parameter) or self.owns(tensor):
            return "parameter"
        if tensor.is_leaf:
            if tensor.requires_grad or (base is not None and base.is_leaf and base.requires_grad):
                return "leaf"
            return "parameter" if self._is_cast_parameter(tensor, arguments) else ""
        return "parameter" if _grows_from_leaf(tensor) else ""

    def _is_cast_parameter(self, tensor: Tensor, arguments: Arguments) -> bool:
        numel, dtype = tensor.numel(), tensor.dtype
        return torch.is_autocast_enabled(tensor.device.type) and any(
            isinstance(argument, Tensor)
            and argument.dtype is not dtype
            and argument.numel() == numel
            and self.owns(argument)
            for argument in arguments[0]
        )


def _grows_from_leaf(tensor: Tensor) -> bool:
    """Whether views and casts alone lead from a leaf that needs a gradient to this tensor."""
    node = tensor.grad_fn
    while node is not None:
        name = node.name()
        if name == "torch::autograd::AccumulateGrad":
            # A weight that was expanded and copied has become an activation.
            return bool(tensor.numel() <= node.variable.numel())  # type: ignore[attr-defined]
        if name not in _PASS_THROUGH:
            return False
        node = node.next_functions[0][0]
    return False

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

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from ..autograd.internals import FakeTensor, StorageWeakRef
from ..codecs.layout import region_of
from ..records import Arguments
from .parts import parts_of

_VIEWS_AND_CASTS = """
    ToCopy T Transpose Permute View UnsafeView ReshapeAlias Slice Select Split
    SplitWithSizes UnsafeSplit Narrow Expand Unsqueeze Squeeze AsStrided Alias Clone
    Unbind Diagonal Conj Unfold
"""
PASS_THROUGH = frozenset(f"{name}Backward{number}" for name in _VIEWS_AND_CASTS.split() for number in (0, 1))


PLAIN = (Tensor, torch.nn.Parameter, torch.nn.Buffer, FakeTensor)
"""Classes of tensors whose storage may be looked at; fake ones are those of planning, which have a size and no data."""


COPY = "copy of a parameter"
"""Why memory stays as it is that holds a parameter in another dtype or order, beside the parameter."""
_AUTOCAST = (torch.bfloat16, torch.float16)
_PROBE = 16


class Parameters:
    """The storages of a model's parameters and buffers, as they are now.

    Args:
        model: The model, or None if only the autograd graph can tell.

    Attributes:
        knows_model: Whether there is a model, so that a leaf that is none of its parameters is an input.
    """

    def __init__(self, model: torch.nn.Module | None) -> None:
        # Held weakly, so that an address stays that of this storage even if forward replaces the buffer.
        self.knows_model = model is not None
        self._storages: dict[int, StorageWeakRef] = {}
        if model is not None:
            for tensor in _tensors_of(model):
                if type(tensor) not in PLAIN and is_lazy(tensor):
                    continue  # it has no memory yet
                for part in parts_of(tensor):
                    reference = StorageWeakRef(part.untyped_storage())
                    self._storages[reference.cdata] = reference

    def owns(self, tensor: Tensor) -> bool:
        """Whether the tensor is a parameter, or lies in the storage of a parameter or buffer of the model."""
        if type(tensor) is torch.nn.Parameter:
            return True
        return tensor.layout is torch.strided and tensor.untyped_storage()._cdata in self._storages

    def is_copy(self, tensor: Tensor) -> bool:
        """Whether a tensor that ``reason`` calls a parameter has memory of its own, as those of autocast have."""
        if self.owns(tensor):
            return False
        base, leaf = tensor._base, _leaf_behind(tensor)
        if base is not None and self.owns(base):
            return False
        return leaf is None or all(_address(part) != _address(tensor) for part in parts_of(leaf))

    def leads_to(self, tensor: Tensor) -> bool:
        """Whether views and casts alone lead from a parameter to a tensor, which may be of any class.

        Where the parameters of a tensor parallel network are spread over more ranks, what runs has others, which are
        there for its forward and backward only.
        """
        base = tensor._base
        leaf = base if base is not None and base.is_leaf else _leaf_behind(tensor)
        return isinstance(leaf, torch.nn.Parameter)

    def reason(self, tensor: Tensor, arguments: Arguments) -> str:
        """Why a tensor is no activation: "parameter", "leaf", or "" if it is one.

        Args:
            tensor: A strided tensor as autograd hands it to the pack hook.
            arguments: Arguments of the op that saves it.
        """
        base = tensor._base
        if base is not None and self.owns(base):
            return "parameter"
        if tensor.is_leaf:
            if tensor.requires_grad or (base is not None and base.is_leaf and base.requires_grad):
                return "leaf"
            return "parameter" if self._is_cast_parameter(tensor, arguments) else ""
        leaf = _leaf_behind(tensor)
        return "" if leaf is None else "parameter" if self.owns(leaf) else "leaf"

    def _is_cast_parameter(self, tensor: Tensor, arguments: Arguments) -> bool:
        """Whether the tensor is a frozen weight among the arguments (or a part of one), cast by autocast."""
        if tensor.dtype not in _AUTOCAST:
            return False
        located = region_of(tensor)
        if located is None or located[1].copied:
            return False
        positional, keywords = arguments
        return any(
            isinstance(argument, Tensor)
            and type(argument) in PLAIN
            and argument.dtype is not tensor.dtype
            and argument.is_floating_point()
            and self.owns(argument)
            and _is_cast_of(located[0], argument)
            for argument in (*positional, *keywords.values())
        )


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


def _tensors_of(model: torch.nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers of a model; three times as fast as by name, and every step asks for them."""
    seen, left = set[int](), [model]
    while left:
        module = left.pop()
        if id(module) not in seen:
            seen.add(id(module))
            for table in (module._parameters, module._buffers):
                yield from (tensor for tensor in table.values() if tensor is not None)
            left.extend(child for child in module._modules.values() if child is not None)


def _is_cast_of(tensor: Tensor, weight: Tensor) -> bool:
    """Whether a dense tensor holds a weight's values in its own dtype, or a slice of its rows, as attention cuts them.

    An activation may have as many elements as a weight, so values decide.
    """
    numel = tensor.numel()
    if weight.numel() < numel or not weight.is_contiguous():
        return False
    if type(tensor) is FakeTensor:
        return True
    flat = tensor.as_strided((numel,), (1,), tensor.storage_offset())
    values = weight.detach().view(-1)
    starts = {*range(0, weight.numel(), numel), weight.numel() - numel}
    return any(
        torch.equal(part[:_PROBE].to(tensor.dtype), flat[:_PROBE]) and torch.equal(part.to(tensor.dtype), flat)
        for part in (values[start : start + numel] for start in sorted(starts) if start + numel <= weight.numel())
    )


def _leaf_behind(tensor: Tensor) -> Tensor | None:
    """The leaf that needs a gradient from which views and casts alone lead to this tensor; None if there is none."""
    node = tensor.grad_fn
    while node is not None:
        name = node.name()
        if name == "torch::autograd::AccumulateGrad":
            # A weight that was expanded and copied has become an activation.
            leaf: Tensor = node.variable  # type: ignore[attr-defined]
            located = [region_of(part) for part in parts_of(tensor)]
            there = sum(part.numel() for part in parts_of(leaf))
            fits = None not in located and sum(each[0].numel() for each in located if each) <= there
            return leaf if fits else None
        if name not in PASS_THROUGH:
            return None
        node = node.next_functions[0][0]
    return None

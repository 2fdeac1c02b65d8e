"""Copies of a model and of its batch that have sizes and no data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.overrides import TorchFunctionMode

from ..autograd.internals import FakeTensorMode, function_modes


class Fakes:
    """Makes copies without data, all of one ``FakeTensorMode``.

    Args:
        device: Device that all copies pretend to be on; None for that of each tensor, where ``meta`` counts as ``cpu``.

    Attributes:
        mode: The mode under which the copies are used.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._device = device

    def tensor(self, tensor: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """A copy of the same dtype and strides, or a contiguous one of another size.

        Raises:
            ValueError: If the tensor has no strides.
        """
        if tensor.layout is not torch.strided or tensor.is_nested:
            raise ValueError(
                f"a plan needs ordinary tensors, got one of layout {tensor.layout}. Pass its parts (values and "
                "indices) and put them together in the model."
            )
        device = self._device or (torch.device("cpu") if tensor.is_meta else tensor.device)
        with self.mode:
            if size is None:
                fake = torch.empty_strided(tuple(tensor.shape), tensor.stride(), dtype=tensor.dtype, device=device)
            else:
                fake = torch.empty(size, dtype=tensor.dtype, device=device)
            if isinstance(tensor, nn.Parameter):
                return nn.Parameter(fake, requires_grad=tensor.requires_grad)
        return fake.requires_grad_(tensor.requires_grad)

    def model(self, model: nn.Module) -> nn.Module:
        """A copy of a model; what it shares is shared in the copy too.

        Raises:
            ValueError: If the model cannot be copied, or has parameters that have no size yet.
        """
        memo: dict[int, Any] = {}
        for tensor in _tensors(model):
            if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
                raise ValueError(
                    f"{type(model).__name__} has lazy parameters, which have no size yet. Run it once on a small batch."
                )
            if id(tensor) not in memo:
                memo[id(tensor)] = self.tensor(tensor)
        try:
            return copy.deepcopy(model, memo)
        except Exception as error:
            raise ValueError(
                f"a plan runs a copy of the model without data, and copy.deepcopy of {type(model).__name__} failed: "
                f"{error} Plan before what cannot be copied is attached, or give its class a __deepcopy__."
            ) from error


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers, and tensors that modules hold as plain attributes."""
    for module in model.modules():
        for table in (module._parameters, module._buffers, vars(module)):
            yield from (value for value in table.values() if isinstance(value, Tensor))


class AsOnGpu(TorchFunctionMode):
    """Has dropout and attention save what their kernels on a GPU save, where tensors pretend to be on a CPU.

    A GPU's dropout holds one byte for each element and the CPU's a whole number; a GPU's attention draws its dropout
    inside the kernel.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an op in the way of a GPU."""
        options = dict(kwargs or {})
        if func is F.dropout and len(args) < 4 and not options.get("inplace"):
            share = args[1] if len(args) > 1 else options.get("p", 0.5)
            training = args[2] if len(args) > 2 else options.get("training", True)
            if training and share > 0:
                return torch.native_dropout(args[0], share, True)[0]
        if func is F.scaled_dot_product_attention and options.get("dropout_p"):
            options["dropout_p"] = 0.0
        return func(*args, **options)


class AsOnGpuAgain:
    """A block's forward that runs in the way of a GPU in backward too, where no mode of forward is active.

    Args:
        function: The real forward.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the block."""
        if any(isinstance(mode, AsOnGpu) for mode in function_modes()):
            return self._function(*args, **kwargs)
        with AsOnGpu():
            return self._function(*args, **kwargs)

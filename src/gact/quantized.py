"""The group code by itself: a tensor held in a few bits per element, outside of any training loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from .ops import checks

_quantize = torch.ops.gact.quantize.default
_dequantize = torch.ops.gact.dequantize.default

Rounding = Literal["stochastic", "dithered", "nearest"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class QuantizedTensor:
    """A tensor as codes of a few bits, with a minimum and a scale for each group of its elements.

    Made by ``gact.quantize``. ``torch.save`` and ``torch.load(weights_only=True)`` work on it once gact is imported,
    and ``state_dict`` gives it as a plain dict. The code is specified in ``docs/codes.md``.

    Attributes:
        codes: Packed codes, uint8, one-dimensional.
        metadata: Minimum and scale of each group, ``[groups, 2]``: bfloat16, or float32 for a float64 tensor.
        bits: Width of a code, 1 to 8.
        group_size: Elements per group; groups are cut in memory order and the last may be short.
        size: Size of the tensor.
        stride: Stride of the tensor, dense.
        dtype: Dtype of the tensor.
        seed: Key of the rounding, which decoding of dithered groups needs.
    """

    codes: Tensor
    metadata: Tensor
    bits: int
    group_size: int
    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    seed: int = 0

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor that the codes stand for, in fresh memory.

        Args:
            dtype: Dtype of the result; by default that of the quantized tensor.

        Returns:
            A tensor of ``size`` and ``stride``.
        """
        to = self.dtype if dtype is None else dtype
        checks.check_dtype(to)
        layout = (self.size, self.stride, to, self.seed)
        decoded: Tensor = _dequantize(self.codes, self.metadata, self.bits, self.group_size, *layout)
        return decoded

    @property
    def nbytes(self) -> int:
        """Bytes held: codes and metadata."""
        return self.codes.nbytes + self.metadata.nbytes

    @property
    def minimum(self) -> Tensor:
        """Value of code 0 in each group, a view ``[groups]``.

        Of a constant group it is the value cut to this precision.
        """
        return self.metadata[:, 0]

    @property
    def scale(self) -> Tensor:
        """Step between neighbouring codes in each group, ``[groups]``: 0 for a constant group, which is exact.

        NaN marks a group that held NaN, an infinity or a magnitude of 2^100 and more; all its elements decode to NaN.
        """
        return self.metadata[:, 1].abs()

    @property
    def device(self) -> torch.device:
        """Where the codes are, and where ``dequantize`` puts its result."""
        return self.codes.device

    def numel(self) -> int:
        """Elements of the tensor."""
        return self.size.numel()

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> QuantizedTensor:
        """These codes on another device.

        Args:
            device: Where to.
            non_blocking: As in ``torch.Tensor.to``.

        Returns:
            A tensor that shares its codes with this one if the device is the same.
        """
        codes = self.codes.to(device, non_blocking=non_blocking)
        return replace(self, codes=codes, metadata=self.metadata.to(device, non_blocking=non_blocking))

    def state_dict(self) -> dict[str, Any]:
        """Everything in a plain dict of tensors and numbers."""
        return {
            "codes": self.codes,
            "metadata": self.metadata,
            "bits": self.bits,
            "group_size": self.group_size,
            "size": tuple(self.size),
            "stride": tuple(self.stride),
            "dtype": self.dtype,
            "seed": self.seed,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> QuantizedTensor:
        """The inverse of ``state_dict``.

        Args:
            state: What ``state_dict`` returned, perhaps after ``torch.save`` and ``torch.load``.

        Returns:
            The quantized tensor; it shares the tensors of ``state``.

        Raises:
            ValueError: If it is no dict, a key is missing or unknown, an entry is of another type than it was given or
                holds no data, or the entries do not fit together.
        """
        names = cls.__dataclass_fields__.keys()
        if not isinstance(state, Mapping):
            raise ValueError(
                f"state must be a dict, got {type(state).__name__}. Pass what QuantizedTensor.state_dict returned."
            )
        if state.keys() != names:
            raise ValueError(
                f"state must have exactly the keys {', '.join(names)}, got {', '.join(map(str, state))}. "
                "Pass what QuantizedTensor.state_dict returned."
            )
        _check_types(state)
        restored = cls(**{**state, "size": torch.Size(state["size"]), "stride": tuple(state["stride"])})
        checks.check_code(restored.bits, restored.group_size)
        checks.check_dtype(restored.dtype)
        checks.check_layout(restored.size, restored.stride)
        checks.check_bytes(restored.codes, "codes", checks.code_bytes(restored.numel(), restored.bits))
        checks.check_metadata(restored.metadata, checks.group_count(restored.numel(), restored.group_size))
        if restored.metadata.dtype != checks.metadata_dtype(restored.dtype):
            raise ValueError(
                f"metadata must be {checks.metadata_dtype(restored.dtype)} for dtype {restored.dtype}, got "
                f"{restored.metadata.dtype}. Pass what QuantizedTensor.state_dict returned."
            )
        return restored

    def __repr__(self) -> str:
        plain = self.numel() * self.dtype.itemsize
        ratio = f", {plain / self.nbytes:.1f}x smaller" if self.nbytes else ""
        return (
            f"QuantizedTensor(size={tuple(self.size)}, dtype={self.dtype}, bits={self.bits}, "
            f"group_size={self.group_size}, device={str(self.device)!r}, nbytes={self.nbytes}{ratio})"
        )


def quantize(
    x: Tensor, bits: int, *, group_size: int = 256, rounding: Rounding = "stochastic", seed: int = 0
) -> QuantizedTensor:
    """Hold a tensor in ``bits`` bits per element.

    Each group of ``group_size`` neighbouring elements is mapped to 2^bits evenly spaced levels between (about) its
    minimum and its maximum. With stochastic rounding the expectation of the decoded tensor is ``x`` and no element is
    off by more than the group's scale; with nearest rounding, by no more than half of it. Constant groups and values
    on a level come back exactly.

    The result does not require grad, and no global random state is read or changed.

    Args:
        x: Float tensor of any size and stride. One with gaps or overlaps (sliced, expanded) comes back in the dense
            stride that ``torch.empty_like(x)`` has: the same order of dimensions.
        bits: Width of a code, 1 to 8.
        group_size: Elements per group, a power of two from 32 to 1024. Each group costs 4 bytes more (8 for float64).
        rounding: ``"stochastic"``, unbiased; ``"dithered"``, unbiased with about half the variance, but values on a
            level come back exactly only where a whole group lies on levels; or ``"nearest"``, with the smallest error.
        seed: Key of the stochastic rounding, any int64: the same seed gives the same codes on every device.

    Returns:
        The quantized tensor.

    Raises:
        TypeError: If ``x`` is no tensor.
        ValueError: If ``x`` is not a strided float tensor or an argument is out of range.
    """
    _check_quantize(x, bits, group_size, rounding, seed)
    x = x.detach()
    stride = x.stride() if checks.is_dense(x.shape, x.stride()) else torch.empty_like(x, device="meta").stride()
    codes, metadata = _quantize(x, bits, group_size, seed, checks.ROUNDINGS.index(rounding))
    return QuantizedTensor(codes, metadata, bits, group_size, x.shape, stride, x.dtype, seed)


def _check_quantize(x: Tensor, bits: int, group_size: int, rounding: str, seed: int) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch.Tensor, got {type(x).__name__}. Convert it with torch.as_tensor.")
    if x.layout != torch.strided or x.is_nested:
        kind = "a nested tensor" if x.is_nested else f"layout {x.layout}"
        raise ValueError(f"x must be a strided tensor, got {kind}. Quantize its values tensor instead.")
    checks.check_dtype(x.dtype)
    checks.check_code(bits, group_size)
    if rounding not in checks.ROUNDINGS:
        raise ValueError(f"rounding must be 'stochastic', 'dithered' or 'nearest', got {rounding!r}.")
    _check_seed(seed)


def _check_seed(seed: Any) -> None:
    if not _is_whole(seed) or not -(2**63) <= seed < 2**63:
        raise ValueError(f"seed must be a whole number of 64 bits (signed), got {seed!r}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_types(state: Mapping[str, Any]) -> None:
    """Raises ValueError unless the entries of a state dict, which may come from anywhere, are of the right types."""
    for name in ("codes", "metadata"):
        tensor = state[name]
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_nested:
            raise ValueError(f"{name} must be a strided tensor, got {_said(tensor)}.")
        if tensor.is_meta:
            raise ValueError(f"{name} must hold data, got a tensor on the meta device. Load the state with its data.")
    if state["codes"].device != state["metadata"].device:
        devices = f"{state['codes'].device} and {state['metadata'].device}"
        raise ValueError(f"codes and metadata must be on one device, got {devices}. Move them to one.")
    for name in ("bits", "group_size"):
        if not _is_whole(state[name]):
            raise ValueError(f"{name} must be a whole number, got {state[name]!r}.")
    for name in ("size", "stride"):
        value = state[name]
        if not isinstance(value, (tuple, list)) or not all(_is_whole(each) and each >= 0 for each in value):
            raise ValueError(f"{name} must be a tuple of whole numbers of at least 0, got {value!r}.")
    if math.prod(state["size"]) >= 2**63 or any(step >= 2**63 for step in state["stride"]):
        raise ValueError(f"size must have fewer than 2^63 elements, got {state['size']!r}.")
    if not isinstance(state["dtype"], torch.dtype):
        raise ValueError(f"dtype must be a torch.dtype, got {state['dtype']!r}.")
    _check_seed(state["seed"])


def _said(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return "a nested tensor" if value.is_nested else f"layout {value.layout}"


torch.serialization.add_safe_globals([QuantizedTensor])

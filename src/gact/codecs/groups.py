"""Stochastic group quantization: the code for activations that a backward reads linearly."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops  # noqa: F401 - registers the operators

_quantize = torch.ops.gact.quantize.default
_dequantize = torch.ops.gact.dequantize.default

DTYPES = frozenset({torch.float32, torch.float16, torch.bfloat16, torch.float64})


class Groups:
    """A dense region held as codes of ``bits`` bits with a minimum and a scale per group.

    Args:
        region: Tensor that is dense in memory, of a dtype in ``DTYPES``.
        bits: Width of a code, 1 to 8.
        group_size: Elements per group, a power of two from 32 to 1024.
        seed: Key of the random stream, any int64.
    """

    __slots__ = ("bits", "codes", "dtype", "group_size", "metadata")

    name = "groups"

    def __init__(self, region: Tensor, bits: int, group_size: int, seed: int) -> None:
        self.codes, self.metadata = _quantize(region, bits, group_size, seed, True)
        self.bits = bits
        self.group_size = group_size
        self.dtype = region.dtype

    @property
    def nbytes(self) -> int:
        """Bytes held, metadata included."""
        return int(self.codes.nbytes + self.metadata.nbytes)

    def is_poisoned(self) -> bool:
        """Whether some group held NaN or infinity and so decodes to NaN. Waits for the device."""
        return bool(self.metadata.sum().isnan())

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride."""
        decoded: Tensor = _dequantize(self.codes, self.metadata, self.bits, self.group_size, size, stride, self.dtype)
        return decoded

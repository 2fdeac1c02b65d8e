"""Group quantization with dithered rounding: the code for activations that a backward reads linearly."""

from __future__ import annotations

import torch
from torch import Tensor

from ..autograd.internals import FakeTensor
from ..ops import checks
from .bent import Bent
from .chunks import flat_of, sampled
from .lines import Lines

_quantize = torch.ops.gact.quantize.default
_dequantize = torch.ops.gact.dequantize.default
# Into an empty tensor, unless it is large: passing size and stride to an operator costs more than making one.
_dequantize_into = torch.ops.gact.dequantize_into.default
_count_poisoned = torch.ops.gact.count_poisoned.default

DITHERED = checks.ROUNDINGS.index("dithered")
DTYPES = frozenset(checks.DTYPES)
LARGE = 32 * 2**20
"""Bytes from which on ``dequantize_into`` writes past the caches, which is slow on memory never used before."""


class Groups:
    """A dense region held as codes of ``bits`` bits with a minimum and a scale per group.

    Args:
        region: Tensor that is dense in memory, of a dtype in ``DTYPES``.
        bits: Width of a code, 1 to 8.
        group_size: Elements per group, a power of two from 32 to 1024.
        seed: Key of the random stream, any int64.

    Attributes:
        nbytes: Bytes held, metadata included.
        line: Channels and neighbours of the line that decoding ends with; None if there is none.
        one_pass: Whether decoding can be part of one pass over codes.
        bent: The hyperbola under which values are held; None if it is a line.
    """

    __slots__ = ("bits", "codes", "dtype", "group_size", "large", "metadata", "nbytes", "seed")

    name = "groups"
    parts: tuple[str, ...] = ("codes", "metadata")
    offloaded_bytes = 0
    line: tuple[int, int] | None = None
    one_pass = True
    bent: Bent | None = None

    def __init__(self, region: Tensor, bits: int, group_size: int, seed: int) -> None:
        self.codes, self.metadata = _quantize(region, bits, group_size, seed, DITHERED)
        self.seed = seed
        self.nbytes: int = self.codes.nbytes + self.metadata.nbytes
        self.bits = bits
        self.group_size = group_size
        self.dtype = region.dtype
        self.large = region.nbytes >= LARGE

    def is_poisoned(self) -> bool:
        """Whether some group decodes to NaN: it held NaN, infinity or a magnitude of 2^100. Waits for the device."""
        return type(self.metadata) is not FakeTensor and bool(_count_poisoned(self.metadata))

    def spread(self) -> Tensor:
        """Mean squared range of a group: what the variance of every width is in proportion to. Shape [], float32."""
        scale = self.metadata[:, 1].float()
        spread: Tensor = scale.square().mean() * float((1 << self.bits) - 1) ** 2
        return spread

    def sample(self, region: Tensor) -> Tensor:
        """What is quantized of a region, in some of its groups; one-dimensional.

        Args:
            region: The region that these codes hold.
        """
        flat = flat_of(region.detach())
        parts = [flat[start:stop] for start, stop in sampled(flat.numel(), self.group_size)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def lines(self) -> Lines:
        """The line that decoding ends with, where there is one."""
        return []

    @property
    def rounding(self) -> int:
        """How what is quantized is rounded, as an index of ``checks.ROUNDINGS``."""
        return DITHERED

    def decode_into(self, out: Tensor) -> None:
        """Writes into a dense tensor, in its memory order."""
        _dequantize_into(out, self.codes, self.metadata, self.bits, self.group_size, self.seed)

    def loaded(self) -> Groups:
        """The code itself: its data is where the region was."""
        return self

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride."""
        out: Tensor
        if self.large:
            out = _dequantize(
                self.codes, self.metadata, self.bits, self.group_size, size, stride, self.dtype, self.seed
            )
            return out
        out = self.codes.new_empty_strided(size, stride, dtype=self.dtype)
        self.decode_into(out)
        return out

    def decode_rounded(self, size: tuple[int, ...], stride: tuple[int, ...], bits: int, seed: int) -> Tensor:
        """A fresh tensor of that size and dense stride, rounded once more to another width with another key."""
        out = self.decode(size, stride)
        round_(out, bits, self.group_size, seed, DITHERED)
        return out


def round_(values: Tensor, bits: int, group_size: int, seed: int, rounding: int) -> None:
    """Rounds a dense tensor in place to what its codes would decode to."""
    codes, metadata = _quantize(values, bits, group_size, seed, rounding)
    _dequantize_into(values, codes, metadata, bits, group_size, seed)

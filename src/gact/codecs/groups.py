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
PARTS = ("codes", "metadata")
_ASIDE = ("aside", "aside_units")
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
        parts: Names of the attributes that hold its tensors.
        line: Channels and neighbours of the line that decoding ends with; None if there is none.
        bent: The hyperbola under which values are held; None if it is a line.
        aside: Elements that are held exactly; None if there are none.
        aside_units: The numbers of the groups, or of whatever ``elements_of`` tells, that they are.
    """

    __slots__ = (
        "aside",
        "aside_units",
        "bits",
        "codes",
        "dtype",
        "group_size",
        "large",
        "metadata",
        "nbytes",
        "parts",
        "seed",
    )

    name = "groups"
    offloaded_bytes = 0
    line: tuple[int, int] | None = None
    bent: Bent | None = None

    def __init__(self, region: Tensor, bits: int, group_size: int, seed: int) -> None:
        self.codes, self.metadata = _quantize(region, bits, group_size, seed, DITHERED)
        self.aside: Tensor | None = None
        self.aside_units: Tensor | None = None
        self.parts: tuple[str, ...] = PARTS
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

    @property
    def one_pass(self) -> bool:
        """Whether decoding can be part of one pass over codes."""
        return self.aside is None

    def set_aside(self, region: Tensor, units: Tensor) -> None:
        """Holds some elements exactly from now on, bit for bit.

        Args:
            region: The region that these codes hold.
            units: Numbers of groups, or of whatever ``elements_of`` tells, int64.
        """
        flat = flat_of(region.detach())
        values, whole = flat[self.elements_of(units, flat.numel())], units
        if flat.numel() < 2**31:
            units = units.int()
        self.nbytes += values.nbytes + units.nbytes
        if self.aside is None or self.aside_units is None:
            self.parts = (*self.parts, *_ASIDE)
        else:
            values, units = torch.cat((self.aside, values)), torch.cat((self.aside_units, units))
        self.aside, self.aside_units = values, units
        self._forget(whole)

    def elements_of(self, units: Tensor, numel: int) -> Tensor:
        """The elements of some groups, ``[units, group_size]``; of a short one the last is meant more than once.

        Args:
            units: Their numbers.
            numel: Elements of the region.
        """
        within = torch.arange(self.group_size, device=units.device)
        return (units.long()[:, None] * self.group_size + within).clamp_(max=numel - 1)

    def restore_aside(self, flat: Tensor, values: Tensor | None = None) -> None:
        """Writes the elements that are held exactly, or what is made of them, to their places.

        Args:
            flat: All elements, in memory order.
            values: What is made of ``aside``.
        """
        if self.aside is not None and self.aside_units is not None:
            values = self.aside if values is None else values
            flat[self.elements_of(self.aside_units, flat.numel())] = values.to(flat.dtype)

    def _forget(self, units: Tensor) -> None:
        """Has groups no step, so that nobody takes them to be rounded."""
        self.metadata[units] = 0

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
        if self.aside is not None:
            self.restore_aside(flat_of(out))

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
            if self.aside is not None:
                self.restore_aside(flat_of(out))
            return out
        out = self.codes.new_empty_strided(size, stride, dtype=self.dtype)
        self.decode_into(out)
        return out

    def decode_rounded(self, size: tuple[int, ...], stride: tuple[int, ...], bits: int, seed: int) -> Tensor:
        """A fresh tensor of that size and dense stride, rounded once more to another width with another key."""
        out = self.decode(size, stride)
        round_(out, bits, self.group_size, seed, DITHERED)
        if self.aside is not None:
            self.restore_aside(flat_of(out))
        return out


def round_(values: Tensor, bits: int, group_size: int, seed: int, rounding: int) -> None:
    """Rounds a dense tensor in place to what its codes would decode to."""
    codes, metadata = _quantize(values, bits, group_size, seed, rounding)
    _dequantize_into(values, codes, metadata, bits, group_size, seed)

"""Data that is mostly zero, such as bags of words, without loss: one bit per element, and the few that are not zero.

NOTE: Zeros with a sign
A product with a mask makes a zero with a sign of every negative value that is masked: half of the zeros of standardised
features. They are told apart from the values by a bit each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand
from ..ops.sparse import WORDS, count_set, gather_set, scatter_set
from .chunks import flat_of

SHARE = 8
"""One element in so many may be other than zero: of float32 that makes 5 bits an element at most."""
_GLANCE = 256


def is_sparse(region: Tensor) -> bool:
    """Whether at most one element in ``SHARE`` is other than zero, of either sign.

    Looks at a few elements first. On a device, where looking would wait for it, nothing is.

    Args:
        region: Tensor that is dense in memory, of a float dtype.
    """
    if not is_at_hand(region) or region.itemsize not in WORDS or not region.numel():
        return False
    flat = flat_of(region.detach())
    glance = flat[:: -(-len(flat) // _GLANCE)]
    if 2 * len(glance) < SHARE * count_set(glance):
        return False
    return SHARE * count_set(flat) <= len(flat)


class Sparse:
    """A dense region as one bit per element and the elements whose bit is set, bit for bit.

    Args:
        region: Tensor on a CPU that is dense in memory, of a float dtype of 2, 4 or 8 bytes.

    Attributes:
        codes: The bits, int32 ``[ceil(numel / 32)]``: set for what is not zero, or zero with a sign.
        signs: Of those that are set, which are not zero, int32; empty if zeros with a sign are few, which are among the
            values then.
        values: Elements that are not zero, in memory order; shape [number of them].
    """

    __slots__ = ("bits", "codes", "count", "dtype", "signs", "values")

    name = "sparse"
    parts: tuple[str, ...] = ("codes", "signs", "values")
    offloaded_bytes = 0

    def __init__(self, region: Tensor) -> None:
        words = _words(region)
        self.codes, values = gather_set(words)
        self.count = len(values)
        if SHARE * self.count > len(words):
            self.signs, values = gather_set(values.masked_fill(values == _minus_zero(values), 0))
        else:
            self.signs = self.codes.new_empty(0)
        self.values = values.view(region.dtype)
        self.dtype = region.dtype
        self.bits = 8 * region.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self.codes.nbytes + self.signs.nbytes + self.values.nbytes)

    def loaded(self) -> Sparse:
        """The code itself: its data is where the region was."""
        return self

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride, equal to the original bit for bit."""
        out = self.values.new_empty_strided(size, stride)
        words = WORDS[out.itemsize]
        values = self.values.view(words)
        if self.signs.numel():
            held = values.new_empty(self.count)
            scatter_set(held, self.signs, values)
            values = held.masked_fill_(held == 0, _minus_zero(held))
        scatter_set(flat_of(out).view(words), self.codes, values)
        return out


def _minus_zero(words: Tensor) -> int:
    """The bits of a zero with a sign."""
    return torch.iinfo(words.dtype).min


def _words(region: Tensor) -> Tensor:
    """The elements of a dense region as integers of the same bits."""
    return flat_of(region.detach()).view(WORDS[region.itemsize])

"""One exact bit per element, for backwards that read only on which side of a bound a value lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ops  # noqa: F401 - registers the operators
from ..autograd.internals import is_at_hand

_encode = torch.ops.gact.encode_mask.default
# Into an empty tensor: passing size and stride to an operator costs more than making one.
_apply = torch.ops.gact.apply_mask_.default
_SAMPLE = 5
_decode_into = torch.ops.gact.decode_mask_into.default


@dataclass(frozen=True, slots=True)
class MaskTest:
    """What a mask remembers of a value, and the two values that stand for it afterwards.

    The bit of x is ``low < x < high``; it decodes to ``on`` or ``off``, which lie on the same sides of the
    consumer's bounds as the original did.

    Attributes:
        low: Bound below, exclusive; ``-inf`` for none.
        high: Bound above, exclusive; ``inf`` for none.
        off: Value given back for a bit that is 0.
        on: Value given back for a bit that is 1.
    """

    low: float = 0.0
    high: float = float("inf")
    off: float = 0.0
    on: float = 1.0


def two_values(region: Tensor) -> MaskTest | None:
    """The test that holds a region of one or two values exactly, such as dropout's mask; None if it has more.

    Looks at a few elements first. On a device, where looking would wait for it, nothing is found.

    Args:
        region: Tensor that is dense in memory, of a float dtype.
    """
    numel, offset = region.numel(), region.storage_offset()
    if numel < _SAMPLE or not is_at_hand(region):
        return None
    if len(set(region.as_strided((_SAMPLE,), (numel // _SAMPLE,), offset).tolist())) > 2:
        return None
    flat = region.as_strided((numel,), (1,), offset)
    low, high = (float(each) for each in torch.aminmax(flat))
    if math.isnan(low) or not bool(((flat == low) | (flat == high)).all()):
        return None
    if 0.0 in (low, high) and bool((torch.signbit(flat) & (flat == 0)).any()):
        return None  # a bit has no room for a zero of either sign
    if low == high:
        return MaskTest(-math.inf, math.inf, 0.0, low) if math.isfinite(low) else None
    if math.isinf(high):
        return MaskTest(-math.inf, math.inf, high, low) if math.isfinite(low) else None
    return MaskTest(low, math.inf, low, high)


class Mask:
    """A dense region as one bit per element.

    Args:
        region: Tensor that is dense in memory, of a float dtype or bool.
        test: The test and the two values.
    """

    __slots__ = ("codes", "dtype", "test")

    name = "mask"
    parts: tuple[str, ...] = ("codes",)
    offloaded_bytes = 0
    bits = 1

    def __init__(self, region: Tensor, test: MaskTest) -> None:
        self.codes = _encode(region, test.low, test.high)
        self.test = test
        self.dtype = region.dtype

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self.codes.nbytes)

    def apply_(self, x: Tensor, factors: tuple[float, float] | None = None) -> None:
        """Multiplies a tensor that has the region's elements in the same order by ``off`` or ``on``, in place.

        Args:
            x: The tensor.
            factors: Two other numbers, for bits of 0 and of 1.
        """
        _apply(x, self.codes, *((self.test.off, self.test.on) if factors is None else factors))

    def loaded(self) -> Mask:
        """The code itself: its data is where the region was."""
        return self

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride, each element ``on`` or ``off``."""
        out: Tensor = self.codes.new_empty_strided(size, stride, dtype=self.dtype)
        _decode_into(out, self.codes, self.test.off, self.test.on)
        return out

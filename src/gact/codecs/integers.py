"""Integers without loss: the narrowest width that holds their range above the minimum.

Between 16 and 32 bits the lower 16 and the upper ones are codes of their own. A range of more than 32 bits saves
nothing and is held as a copy, so that any integers can be encoded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..autograd.internals import FakeTensor
from ..ops import checks

_encode = torch.ops.gact.encode_integers.default
# Into an empty tensor: passing size and stride to an operator costs more than making one.
_decode_into = torch.ops.gact.decode_integers_into.default

DTYPES = frozenset(checks.INTEGER_DTYPES)
_LOW = 16
WIDTHS = tuple(sorted({*checks.INTEGER_WIDTHS, *(_LOW + width for width in checks.INTEGER_WIDTHS if width < _LOW)}))


class Integers:
    """A dense region of integers as offsets from their minimum.

    Args:
        region: Tensor that is dense in memory, of a dtype in ``DTYPES``.
        minimum: Its least value.
        maximum: Its greatest value.

    Attributes:
        codes: The offsets, or the lower 16 bits of them.
        upper: Their other bits; None where there is no need of these.
    """

    __slots__ = ("bits", "codes", "dtype", "minimum", "parts", "upper")

    name = "integers"
    offloaded_bytes = 0

    def __init__(self, region: Tensor, minimum: int, maximum: int) -> None:
        self.bits = width_of(minimum, maximum)
        self.minimum = minimum
        self.codes: Tensor
        self.upper: Tensor | None = None
        self.parts: tuple[str, ...] = ("codes",)
        if self._is_split:
            self.codes = _encode(region, minimum, _LOW)  # offsets modulo 2^16
            self.upper = _encode((region.long() - minimum) >> _LOW, 0, self.bits - _LOW)
            self.parts = ("codes", "upper")
        elif self.bits in WIDTHS:
            self.codes = _encode(region, minimum, self.bits)
        else:
            self.codes = region.as_strided((region.numel(),), (1,)).clone()
        self.dtype = region.dtype

    @property
    def _is_split(self) -> bool:
        return _LOW < self.bits < 2 * _LOW

    @property
    def nbytes(self) -> int:
        """Bytes held, the minimum included."""
        return int(self.codes.nbytes) + (0 if self.upper is None else int(self.upper.nbytes)) + 8

    def loaded(self) -> Integers:
        """The code itself: its data is where the region was."""
        return self

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride, equal to the original."""
        out: Tensor
        if self.bits not in WIDTHS:
            return self.codes.clone().as_strided(size, stride)
        out = self.codes.new_empty_strided(size, stride, dtype=self.dtype)
        if self.upper is None:
            _decode_into(out, self.codes, self.minimum, self.bits)
            return out
        upper = torch.empty_like(out)
        _decode_into(out, self.codes, self.minimum, _LOW)
        _decode_into(upper, self.upper, 0, self.bits - _LOW)
        return out.add_(upper, alpha=1 << _LOW)


def extremes(region: Tensor) -> tuple[int, int]:
    """Least and greatest value of a region; of one without data, as in planning, a range of 16 bits or its dtype's."""
    if type(region) is FakeTensor:
        return 0, min(torch.iinfo(region.dtype).max, 2**16 - 1)
    low, high = torch.aminmax(region)
    return int(low), int(high)


def width_of(minimum: int, maximum: int) -> int:
    """The least width in ``WIDTHS`` for a range, or 64 if none suffices."""
    return next((width for width in WIDTHS if maximum - minimum < 1 << width), 64)

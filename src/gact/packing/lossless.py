"""The codes that hold a region without loss: nothing of it, a mask, narrowed integers, and data that is mostly zero."""

from __future__ import annotations

import torch
from torch import Tensor

from ..codecs.blank import Blank
from ..codecs.integers import DTYPES as INTEGERS
from ..codecs.integers import Integers, extremes
from ..codecs.masks import Mask, MaskTest, two_values
from ..codecs.sparse import Sparse, is_sparse
from ..operators.need import Need
from ..saved.encoded import Encoded

_BOOL = MaskTest(0.5, 1.5, 0.0, 1.0)
_BOOL_NEED = Need("mask", mask=_BOOL)
_INTEGER_NEED = Need("integers")
_SPARSE_NEED = Need("sparse")


def lossless(region: Tensor, is_data: bool) -> Need | None:
    """The code that holds a region exactly, whoever reads it, in fewer bits; None if there is none.

    Args:
        region: A region, of a kind that ``refusal`` lets pass.
        is_data: Whether no op made it.
    """
    dtype = region.dtype
    if dtype is torch.bool:
        return _BOOL_NEED
    if dtype in INTEGERS:
        return _INTEGER_NEED
    if not is_data:
        return None
    test = two_values(region)
    if test is not None:
        return Need("mask", mask=test)
    return _SPARSE_NEED if is_sparse(region) else None


def without_loss(region: Tensor, needed: Need) -> Encoded | str | None:
    """A region in the code of such a need, or why it has none; None if the need is that of a value.

    Args:
        region: A dense region.
        needed: What must survive of it.
    """
    if needed.kind == "shape":
        return Encoded(Blank(region))
    if needed.kind == "mask":
        return Encoded(Mask(region, needed.mask or _BOOL))
    if needed.kind == "sparse":
        return Encoded(Sparse(region))
    if needed.kind == "integers":  # on a device their range cannot be read without waiting
        return Encoded(Integers(region, *extremes(region))) if region.is_cpu else "integer"
    return None

"""Elements that are not zero, gathered and put back: in C++, and in plain torch where the extension is missing.

Both work on elements as integers of the same bits, so a zero with a sign is not zero, and NaN comes back as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import cpu

_WORD = 32
WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers of as many bytes as an element."""


def count_set(words: Tensor) -> int:
    """How many elements are not zero."""
    return int(torch.count_nonzero(words))


def gather_set(words: Tensor) -> tuple[Tensor, Tensor]:
    """Which elements are not zero, and those.

    Args:
        words: On a CPU, one-dimensional and contiguous, of a dtype in ``WORDS``.

    Returns:
        Bits, int32 ``[ceil(numel / 32)]``, where bit i of word w tells of element 32 w + i, and the elements that are
        not zero, in order.
    """
    library = cpu.library()
    if library is None:
        return gather_set_plainly(words)
    bits = torch.empty(-(-words.numel() // _WORD), dtype=torch.int32)
    values = torch.empty(count_set(words), dtype=words.dtype)
    places = (words.data_ptr(), words.itemsize, words.numel(), bits.data_ptr(), values.data_ptr())
    found = library.gact_gather_set(*places, values.numel())
    if found != values.numel():
        raise RuntimeError("elements were changed by another thread while they were gathered")
    return bits, values


def gather_set_plainly(words: Tensor) -> tuple[Tensor, Tensor]:
    """The same in plain torch.

    Args:
        words: See ``gather_set``.
    """
    is_set = words != 0
    missing = -words.numel() % _WORD
    table = torch.nn.functional.pad(is_set, (0, missing)).view(-1, _WORD)
    bits = (table.long() << torch.arange(_WORD)).sum(1).to(torch.int32)
    return bits, words[is_set]


def scatter_set(out: Tensor, bits: Tensor, values: Tensor) -> None:
    """Writes elements back to where they were, and zeros elsewhere.

    Args:
        out: One-dimensional and contiguous, of the dtype of ``values``.
        bits: As ``gather_set`` gave them.
        values: Likewise.
    """
    library = cpu.library()
    if library is None:
        scatter_set_plainly(out, bits, values)
        return
    library.gact_scatter_set(bits.data_ptr(), values.data_ptr(), out.itemsize, out.numel(), out.data_ptr())


def scatter_set_plainly(out: Tensor, bits: Tensor, values: Tensor) -> None:
    """The same in plain torch.

    Args:
        out: See ``scatter_set``.
        bits: Likewise.
        values: Likewise.
    """
    is_set = ((bits[:, None].long() >> torch.arange(_WORD)) & 1).bool().flatten()[: out.numel()]
    out.zero_().masked_scatter_(is_set, values)

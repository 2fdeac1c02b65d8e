"""The output of fused attention, made again from the queries, keys and values that its node holds.

NOTE: Why it is made again
Backward computes the probabilities once more, from queries and keys as they are decoded, and takes from what each
value is worth the mean over the row, which it reads off the output. Where those two do not belong together, a
difference that almost cancels does not, and rounding grows with the scores and with what keys have in common. The
output of the decoded queries, keys and values is the mean under those very probabilities, up to one factor for each row
(the exact logsumexp is that of the exact scores). Besides, it takes no bytes. It costs one more forward pass of the
fused kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import DisableTorchFunction
from ..codecs.fused import Pass
from ..codecs.layout import Layout
from ..records import Decision
from ..saved.encoded import Encoded
from ..saved.kept import Copied, Kept
from ..saved.origins import EXACT, Origin
from ..saved.packed import Packed
from .sources import Source

_EXACT = 32
"""Width of what is no code."""
_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


class Attended:
    """The output of an attention, as what a save is held as.

    Args:
        sources: Queries, keys and values, and what is added to the scores where there is anything.
        causal: Whether each query sees the keys up to its own place only.
        scale: Factor of the scores; None for the kernel's own.
        region: What the kernel gave.

    Attributes:
        bits: Width of the narrowest code among queries, keys and values.
        sources: What gives the arguments.
        roots: The narrow codes it comes from.
        origin: The same; one element comes from many of theirs.
        dtype: Dtype of the region.
        readers: Saves of it that share what is decoded and have not been read yet.
    """

    __slots__ = (
        "__weakref__",
        "_causal",
        "_scale",
        "_size",
        "_stride",
        "bits",
        "dtype",
        "origin",
        "readers",
        "roots",
        "sources",
    )

    def __init__(self, sources: list[Source], causal: bool, scale: float | None, region: Tensor) -> None:
        self.sources = sources
        self.bits = min(source.bits for source in sources[:3])
        self.dtype = region.dtype
        self.readers = 0
        self._causal, self._scale = causal, scale
        self._size, self._stride = region.size(), region.stride()
        found = [root for source in sources for root in source.roots]
        self.roots: tuple[Encoded, ...] = tuple({id(root): root for root in found}.values())
        held = [source.held for source in sources]
        origins = [each.origin for each in held if not isinstance(each, (Kept, Copied))]
        roots = frozenset[Any]().union(*(origin.roots for origin in origins))
        self.origin = Origin(roots, aligned=False, mixed=True) if roots else EXACT

    @property
    def depth(self) -> int:
        """How many recipes lie between it and codes."""
        return 1 + max(source.depth for source in self.sources)

    @property
    def decision(self) -> Decision:
        """Derived."""
        return Decision.derived()

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout."""
        with torch.no_grad(), DisableTorchFunction(), torch.autocast("cpu", enabled=False):
            query, key, value, *bias = (source.value() for source in self.sources)
            mask = bias[0] if bias else None
            made: Tensor = _attend(query, key, value, 0.0, self._causal, attn_mask=mask, scale=self._scale)[0]
        if made.stride() != self._stride:
            made = torch.empty_strided(self._size, self._stride, dtype=made.dtype, device=made.device).copy_(made)
        return made.as_strided(layout.size, layout.stride)

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """None: attention is no pass over codes."""
        return None


def attended(node: Any, region: Tensor) -> Attended | None:
    """What makes the output of a node of the fused kernel again.

    Args:
        node: The node, whose queries, keys and values are settled.
        region: The output.

    Returns:
        None where all arguments are held exactly, or one cannot be reached.
    """
    slots = (node._raw_saved_query, node._raw_saved_key, node._raw_saved_value, node._raw_saved_attn_mask)
    held = [each.data for each in slots if each.data is not None]
    sources = [_source(each) for each in held]
    found = [source for source in sources if source is not None]
    if len(found) < max(len(held), 3) or all(source.bits >= _EXACT for source in found[:3]):
        return None
    return Attended(found, node._saved_is_causal, node._saved_scale, region)


def _source(packed: Any) -> Source | None:
    """What gives a saved tensor, once it is settled."""
    packed = getattr(packed, "result", packed)
    if isinstance(packed, Packed):
        return Source(packed.held, packed.layout)
    return Source(packed, None) if isinstance(packed, (Kept, Copied)) else None

"""Seven networks so small, or of so many layers, that the machinery around the kernels is seen in their steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..networks import Built, repeatable
from .graphs import gcn
from .images import resnet
from .layers import chain
from .sequences import gru
from .texts import bert, bert_deeper, llama

SMALL: Mapping[str, Callable[[bool], Built]] = {
    "bert_128x2": bert,
    "bert_256x4": bert_deeper,
    "llama_256x4": llama,
    "resnet_9_blocks": resnet,
    "gru_128x2": gru,
    "gcn_64x2": gcn,
    "chain_64x8": chain,
}


def build_small(name: str, tiny: bool = False) -> Built:
    """A network of the table, always with the same weights and the same batch.

    Args:
        name: Key of ``SMALL``.
        tiny: A much smaller network, to see that a case runs.
    """
    return repeatable(SMALL[name], tiny)

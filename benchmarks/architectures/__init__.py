"""Small networks of different kinds, with random weights and a random batch each.

Dropout is off and batch norms hold their statistics, so that two passes differ by nothing but what is compressed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..networks import Built, repeatable
from .detection import detector
from .experts import experts
from .flickr import flickr_gat, flickr_gcn, flickr_gcnii
from .graph import gat, gcn, sage
from .hugging_face import bert, llama, resnet, t5
from .lora import lora
from .masked import masked
from .recurrent import gru, lstm, lstm_again, lstm_fused
from .small import mixer, volumes
from .unet import unet

ARCHITECTURES: Mapping[str, Callable[[bool], Built]] = {
    "resnet": resnet,
    "bert": bert,
    "llama": llama,
    "t5": t5,
    "unet": unet,
    "gat": gat,
    "gcn": gcn,
    "sage": sage,
    "lstm": lstm,
    "lstm_fused": lstm_fused,
    "lstm_again": lstm_again,
    "gru": gru,
    "volumes": volumes,
    "mixer": mixer,
    "experts": experts,
    "lora": lora,
    "detector": detector,
    "masked": masked,
    "flickr_gcn": flickr_gcn,
    "flickr_gat": flickr_gat,
    "flickr_gcnii": flickr_gcnii,
}


def build_architecture(name: str, tiny: bool = False) -> Built:
    """A network of the table, always with the same weights and the same batch.

    Args:
        name: Key of ``ARCHITECTURES``.
        tiny: A much smaller network, to see that a case runs.
    """
    return repeatable(ARCHITECTURES[name], tiny)

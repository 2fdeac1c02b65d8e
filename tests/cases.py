"""Networks as data: small ones made here, and one small configuration of each transformers architecture."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    """A network and a batch for it.

    Attributes:
        build: Makes the network.
        inputs: Makes a batch.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]


class Residual(nn.Module):
    """A residual block in channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class Recurrent(nn.Module):
    """An LSTM and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(16, 32, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0])


def perceptron() -> nn.Module:
    """Three layers, with dropout."""
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Dropout(0.2), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))


def convolutional() -> nn.Module:
    """A small residual network."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), Residual(8), nn.MaxPool2d(2), Residual(8), nn.Flatten(), nn.LazyLinear(8))


def transformer() -> nn.Module:
    """One encoder layer."""
    return nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)


def _convolutional() -> nn.Module:
    network = convolutional()
    network(torch.randn(1, 3, 14, 14))
    return network


NETWORKS = {
    "perceptron": Network(perceptron, lambda: torch.randn(16, 32)),
    "convolutional": Network(_convolutional, lambda: torch.randn(4, 3, 14, 14)),
    "transformer": Network(transformer, lambda: torch.randn(4, 12, 32)),
    "recurrent": Network(Recurrent, lambda: torch.randn(4, 10, 16)),
}


@dataclass(frozen=True)
class Architecture:
    """A transformers architecture with random weights, small enough to run in a moment.

    Attributes:
        model: Class of the model.
        config: Class of its configuration.
        options: What the configuration is given.
        inputs: Which batch of ``BATCHES`` it takes.
    """

    model: str
    config: str
    options: dict[str, Any]
    inputs: str = "text"

    def build(self) -> nn.Module:
        """The model, in training mode."""
        import transformers

        config = getattr(transformers, self.config)(**self.options)
        return getattr(transformers, self.model)(config).train()

    def batch(self) -> dict[str, Tensor]:
        """Keyword arguments for one forward pass."""
        return BATCHES[self.inputs]()


def _ids(length: int = 16) -> Tensor:
    return torch.randint(3, 90, (3, length))


BATCHES: dict[str, Callable[[], dict[str, Tensor]]] = {
    "text": lambda: {"input_ids": _ids(), "attention_mask": torch.ones(3, 16, dtype=torch.long)},
    "ids": lambda: {"input_ids": _ids()},
    "padded text": lambda: {"input_ids": _ids(), "attention_mask": (torch.arange(16) < 12).long().expand(3, 16)},
    "pair": lambda: {"input_ids": _ids(), "decoder_input_ids": _ids(8)},
    "image": lambda: {"pixel_values": torch.randn(2, 3, 32, 32)},
    "image and text": lambda: {"input_ids": _ids(), "pixel_values": torch.randn(3, 3, 32, 32)},
    "audio": lambda: {"input_values": torch.randn(2, 3000)},
    "spectrogram": lambda: {"input_features": torch.randn(2, 8, 40), "decoder_input_ids": _ids(8)[:2]},
    "clip": lambda: {"pixel_values": torch.randn(1, 4, 3, 32, 32)},
}

_ENCODER = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
_DECODER = {
    **_ENCODER,
    "num_key_value_heads": 2,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_PAIR = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "use_cache": False,
}
_VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
_STAGES = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4, "image_size": 32, "patch_size": 4}

ARCHITECTURES = {
    "bert": Architecture("BertModel", "BertConfig", _ENCODER, "padded text"),
    "roberta": Architecture("RobertaModel", "RobertaConfig", _ENCODER),
    "distilbert": Architecture(
        "DistilBertModel",
        "DistilBertConfig",
        {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    ),
    "albert": Architecture("AlbertModel", "AlbertConfig", {**_ENCODER, "embedding_size": 16}),
    "electra": Architecture("ElectraModel", "ElectraConfig", {**_ENCODER, "embedding_size": 16}),
    "deberta v2": Architecture(
        "DebertaV2Model",
        "DebertaV2Config",
        {**_ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False},
    ),
    "modernbert": Architecture(
        "ModernBertModel", "ModernBertConfig", {**_ENCODER, "pad_token_id": 0, "local_attention": 8}
    ),
    "fnet": Architecture("FNetModel", "FNetConfig", {**_ENCODER, "num_attention_heads": 4}, "ids"),
    "gpt2": Architecture(
        "GPT2Model", "GPT2Config", {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "use_cache": False}
    ),
    "gpt neox": Architecture("GPTNeoXModel", "GPTNeoXConfig", {**_ENCODER, "use_cache": False}),
    "opt": Architecture(
        "OPTModel",
        "OPTConfig",
        {
            "vocab_size": 99,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 64,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 32,
            "use_cache": False,
        },
    ),
    "bloom": Architecture(
        "BloomModel",
        "BloomConfig",
        {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4, "use_cache": False},
    ),
    "llama": Architecture("LlamaModel", "LlamaConfig", _DECODER, "padded text"),
    "mistral": Architecture("MistralModel", "MistralConfig", {**_DECODER, "sliding_window": 8}),
    "qwen2": Architecture("Qwen2Model", "Qwen2Config", _DECODER),
    "gemma": Architecture("GemmaModel", "GemmaConfig", {**_DECODER, "head_dim": 8}),
    "phi": Architecture("PhiModel", "PhiConfig", _DECODER),
    "mixtral": Architecture(
        "MixtralModel", "MixtralConfig", {**_DECODER, "num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "mamba": Architecture(
        "MambaModel",
        "MambaConfig",
        {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "use_cache": False},
        "ids",
    ),
    "t5": Architecture(
        "T5Model",
        "T5Config",
        {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "use_cache": False},
        "pair",
    ),
    "bart": Architecture("BartModel", "BartConfig", _PAIR, "pair"),
    "pegasus": Architecture("PegasusModel", "PegasusConfig", _PAIR, "pair"),
    "vit": Architecture("ViTModel", "ViTConfig", _VISION, "image"),
    "deit": Architecture("DeiTModel", "DeiTConfig", _VISION, "image"),
    "dinov2": Architecture("Dinov2Model", "Dinov2Config", _VISION, "image"),
    "beit": Architecture("BeitModel", "BeitConfig", {**_VISION, "vocab_size": 99}, "image"),
    "swin": Architecture("SwinModel", "SwinConfig", _STAGES, "image"),
    "swin v2": Architecture("Swinv2Model", "Swinv2Config", _STAGES, "image"),
    "resnet": Architecture(
        "ResNetModel",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "image",
    ),
    "convnext": Architecture(
        "ConvNextModel", "ConvNextConfig", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}, "image"
    ),
    "segformer": Architecture(
        "SegformerModel",
        "SegformerConfig",
        {
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [2, 1],
            "hidden_sizes": [8, 16],
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
        },
        "image",
    ),
    "mobilenet v2": Architecture(
        "MobileNetV2Model", "MobileNetV2Config", {"image_size": 32, "depth_multiplier": 0.25}, "image"
    ),
    "clip": Architecture(
        "CLIPModel",
        "CLIPConfig",
        {
            "text_config": {**_ENCODER, "eos_token_id": 2},
            "vision_config": _VISION,
            "projection_dim": 16,
        },
        "image and text",
    ),
    "wav2vec2": Architecture(
        "Wav2Vec2Model",
        "Wav2Vec2Config",
        {
            **{k: v for k, v in _ENCODER.items() if k != "max_position_embeddings"},
            "conv_dim": (16, 16),
            "conv_stride": (5, 4),
            "conv_kernel": (10, 8),
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
            "mask_time_prob": 0.0,
        },
        "audio",
    ),
    "whisper": Architecture(
        "WhisperModel",
        "WhisperConfig",
        {
            **{k: v for k, v in _PAIR.items() if k != "max_position_embeddings"},
            "num_mel_bins": 8,
            "max_source_positions": 20,
            "max_target_positions": 16,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
        "spectrogram",
    ),
    "videomae": Architecture(
        "VideoMAEModel", "VideoMAEConfig", {**_VISION, "num_frames": 4, "tubelet_size": 2}, "clip"
    ),
}

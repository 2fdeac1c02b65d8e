"""Networks of many kinds for predictions of memory: each with a batch and, where the model makes no loss, a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks import NETWORKS as CLASSIFIERS

Made = tuple[nn.Module, Any, Callable[[nn.Module, Any], Tensor] | None]


class UNet(nn.Module):
    """Two levels down, two up, with skips."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _double(3, width)
        self.down = nn.ModuleList([_double(width, 2 * width), _double(2 * width, 4 * width)])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)]
        )
        self.joined = nn.ModuleList([_double(4 * width, 2 * width), _double(2 * width, width)])
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of two classes for every pixel."""
        skips = [self.first(x)]
        for block in self.down:
            skips.append(block(F.max_pool2d(skips[-1], 2)))
        y = skips.pop()
        for up, joined in zip(self.up, self.joined, strict=True):
            y = joined(torch.cat([up(y), skips.pop()], 1))
        return self.head(y)


class Recurrent(nn.Module):
    """An LSTM of two layers and a head."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.cell = nn.LSTM(features, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits from the last state."""
        return self.head(self.cell(x)[0][:, -1])


class GraphConvolution(nn.Module):
    """Three layers that add up the features of neighbours."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(features, width), nn.Linear(width, width), nn.Linear(width, 7)])

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Logits of every node."""
        for at, layer in enumerate(self.layers):
            messages = layer(x).index_select(0, edges[0])
            x = torch.zeros(x.shape[0], messages.shape[1], dtype=x.dtype).index_add(0, edges[1], messages)
            if at < 2:
                x = F.dropout(F.relu(x), 0.5, self.training)
        return x


def _double(inner: int, outer: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
        nn.Conv2d(outer, outer, 3, padding=1),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
    )


def _loss(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    *features, labels = inputs
    return F.cross_entropy(model(*features), labels)


def _classifier(name: str, tiny: bool) -> Made:
    import transformers

    network = CLASSIFIERS[name]
    config_class, model_class = (getattr(transformers, part) for part in network.classes)
    model = model_class(config_class(**{**network.config, **((network.tiny or {}) if tiny else {})}))
    image = 64 if tiny else network.image
    inputs = (
        {"input_ids": torch.randint(0, 1000, (network.batch, network.tokens))}
        if network.tokens
        else {"pixel_values": torch.randn(network.batch, 3, image, image)}
    )
    return model, {**inputs, "labels": torch.randint(0, network.labels, (network.batch,))}, None


def _text(tiny: bool) -> Tensor:
    return torch.randint(3, 90, (2, 64) if tiny else (4, 256))


def gpt2(tiny: bool) -> Made:
    """A GPT-2 with dropout."""
    import transformers

    size = {"n_layer": 2, "n_embd": 64, "n_head": 2} if tiny else {"n_layer": 4, "n_embd": 384, "n_head": 6}
    config = transformers.GPT2Config(vocab_size=2000, attn_implementation="eager", use_cache=False, **size)
    ids = _text(tiny)
    return transformers.GPT2LMHeadModel(config), {"input_ids": ids, "labels": ids}, None


def llama(tiny: bool) -> Made:
    """A Llama with grouped queries and torch's own attention."""
    import transformers

    size = (
        {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4}
        if tiny
        else {"num_hidden_layers": 4, "hidden_size": 384, "intermediate_size": 1024, "num_attention_heads": 6}
    )
    config = transformers.LlamaConfig(vocab_size=2000, num_key_value_heads=2, use_cache=False, **size)
    ids = _text(tiny)
    return transformers.LlamaForCausalLM(config), {"input_ids": ids, "labels": ids}, None


def t5(tiny: bool) -> Made:
    """An encoder and a decoder."""
    import transformers

    size = (
        {"num_layers": 2, "d_model": 64, "d_ff": 128, "d_kv": 16, "num_heads": 4}
        if tiny
        else {"num_layers": 3, "d_model": 256, "d_ff": 1024, "d_kv": 32, "num_heads": 8}
    )
    config = transformers.T5Config(vocab_size=2000, use_cache=False, decoder_start_token_id=0, **size)
    ids = _text(tiny)
    return transformers.T5ForConditionalGeneration(config), {"input_ids": ids, "labels": ids}, None


def vit(tiny: bool) -> Made:
    """A vision transformer."""
    import transformers

    size = (
        {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128}
        if tiny
        else {"num_hidden_layers": 4, "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
    )
    config = transformers.ViTConfig(image_size=64 if tiny else 224, num_labels=10, **size)
    return transformers.ViTForImageClassification(config), _images(tiny), None


def convnext(tiny: bool) -> Made:
    """A convolutional network with layer norms."""
    import transformers

    size = (
        {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}
        if tiny
        else {"hidden_sizes": [48, 96, 192, 384], "depths": [2, 2, 4, 2]}
    )
    return (
        transformers.ConvNextForImageClassification(transformers.ConvNextConfig(num_labels=10, **size)),
        _images(tiny),
        None,
    )


def _images(tiny: bool) -> dict[str, Tensor]:
    side, batch = (64, 2) if tiny else (224, 4)
    return {"pixel_values": torch.randn(batch, 3, side, side), "labels": torch.randint(0, 10, (batch,))}


def unet(tiny: bool) -> Made:
    """A U-Net: activations without blocks that repeat."""
    side, width = (32, 8) if tiny else (128, 32)
    return UNet(width), (torch.randn(2, 3, side, side), torch.randint(0, 2, (2, side, side))), _loss


def lstm(tiny: bool) -> Made:
    """A recurrent network."""
    width, length = (32, 20) if tiny else (256, 100)
    return Recurrent(64, width), (torch.randn(16, length, 64), torch.randint(0, 10, (16,))), _loss


def gcn(tiny: bool) -> Made:
    """A graph network on one random graph."""
    nodes, width = (400, 32) if tiny else (10000, 256)
    edges = torch.randint(0, nodes, (2, 8 * nodes))
    labels = torch.randint(0, 7, (nodes,))
    return GraphConvolution(100, width), (torch.randn(nodes, 100), edges, labels), _loss


BUILDERS: dict[str, Callable[[bool], Made]] = {
    **{name: (lambda tiny, name=name: _classifier(name, tiny)) for name in CLASSIFIERS},  # type: ignore[misc]
    **{each.__name__: each for each in (gpt2, llama, t5, vit, convnext, unet, lstm, gcn)},
}


def make(name: str, tiny: bool = False) -> Made:
    """A network in training mode, its batch and its loss, always of the same weights.

    Args:
        name: Key of ``BUILDERS``.
        tiny: A much smaller one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, inputs, loss_fn = BUILDERS[name](tiny)
    return model.train(), inputs, loss_fn

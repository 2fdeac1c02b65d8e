"""The networks of the benchmarks as data: transformers' own classes with random weights and random inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Network:
    """How to build a classifier and a batch for it.

    Attributes:
        classes: Names of the configuration and of the model in transformers.
        config: Arguments of the configuration.
        batch: Samples in a batch.
        tokens: Tokens of a sample, or 0 for images.
        image: Height and width of an image.
        labels: Classes to choose from.
        tiny: What another, much smaller network has in the place of these, to see that a case runs.
    """

    classes: tuple[str, str]
    config: Mapping[str, Any]
    batch: int
    labels: int
    tokens: int = 0
    image: int = 224
    tiny: Mapping[str, Any] | None = None


NETWORKS: Mapping[str, Network] = {
    "bert": Network(
        classes=("BertConfig", "BertForSequenceClassification"),
        config={
            "num_hidden_layers": 4,
            "hidden_size": 512,
            "num_attention_heads": 8,
            "intermediate_size": 2048,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "attn_implementation": "eager",
        },
        batch=8,
        labels=2,
        tokens=128,
        tiny={"num_hidden_layers": 1, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 256},
    ),
    "resnet50": Network(
        classes=("ResNetConfig", "ResNetForImageClassification"),
        config={"num_labels": 10},
        batch=4,
        labels=10,
        tiny={"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 1]},
    ),
    "swin_t": Network(
        classes=("SwinConfig", "SwinForImageClassification"),
        config={"num_labels": 10, "hidden_dropout_prob": 0.0, "drop_path_rate": 0.0},
        batch=2,
        labels=10,
        tiny={"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4]},
    ),
}


@dataclass(frozen=True, slots=True)
class Built:
    """A network in training mode with its batch.

    Attributes:
        model: The network. Its dropout is off and its batch norms do not move their statistics, so that two passes
            differ by nothing but what is compressed.
        loss: Runs forward on the batch.
        batch: Samples in the batch.
        settings: What its compressor is to be told besides the width.
    """

    model: nn.Module
    loss: Callable[[], Tensor]
    batch: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def gradient(self) -> Tensor:
        """The gradient of all parameters in one float64 vector."""
        found = [parameter.grad for parameter in self.model.parameters()]
        return torch.cat([gradient.flatten().double() for gradient in found if gradient is not None])


def build(name: str, tiny: bool = False) -> Built:
    """A network of the table, always with the same weights and the same batch.

    Args:
        name: Key of ``NETWORKS``.
        tiny: The much smaller network.
    """
    import transformers

    network = NETWORKS[name]
    config_class, model_class = (getattr(transformers, part) for part in network.classes)
    config = config_class(**{**network.config, **((network.tiny or {}) if tiny else {})})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config).train()
        batch = min(network.batch, 2) if tiny else network.batch
        if network.tokens:
            inputs = {"input_ids": torch.randint(0, 1000, (batch, network.tokens))}
        else:
            image = 64 if tiny else network.image
            inputs = {"pixel_values": torch.randn(batch, 3, image, image)}
        labels = torch.randint(0, network.labels, (batch,))
    hold_statistics(model)
    return Built(model, lambda: model(**inputs, labels=labels).loss, batch)


def repeatable(make: Callable[[bool], Built], tiny: bool) -> Built:
    """What a maker of networks builds, always with the same weights and the same batch.

    Args:
        make: Builds a network, the much smaller one if it is given True.
        tiny: Which of the two.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = make(tiny)
    hold_statistics(built.model)
    return built


def hold_statistics(model: nn.Module) -> None:
    """Has the batch norms of a network keep their running statistics as they are."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0

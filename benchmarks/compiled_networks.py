"""Networks of the benchmark of compiled training: BERT, GPT-2, Llama and residual convolutions, of four blocks each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAMES = ("bert", "images", "gpt2", "llama")


@dataclass(frozen=True, slots=True)
class Case:
    """A network and its batch.

    Attributes:
        model: The network.
        loss: The loss of the batch, given the network or its compiled form.
    """

    model: nn.Module
    loss: Callable[[nn.Module], Tensor]


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        between = self.first_norm(self.first(x)).relu()
        return (x + self.second_norm(self.second(between))).relu()


def make(name: str, tiny: bool = False) -> Case:
    """A network with random weights and a batch of random data.

    Args:
        name: One of ``NAMES``.
        tiny: One block and a small batch, for tests of the benchmark itself.
    """
    torch.manual_seed(0)
    return _images(tiny) if name == "images" else _words(name, 1 if tiny else 4, (2, 32) if tiny else (16, 128))


def _images(tiny: bool) -> Case:
    batch = 4 if tiny else 32
    model = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), _Residual(32), _Residual(32)),
        *(nn.MaxPool2d(2), nn.Conv2d(32, 64, 1, bias=False), _Residual(64), _Residual(64)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    return Case(model, lambda run: F.cross_entropy(run(images), labels))


def _words(name: str, layers: int, shape: tuple[int, int]) -> Case:
    import transformers

    words = torch.randint(0, 1000, shape)
    sizes = {"vocab_size": 1000, "attn_implementation": "sdpa"}
    if name == "bert":
        config = transformers.BertConfig(
            hidden_size=256, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=1024, **sizes
        )
        labels = torch.randint(0, 2, shape[:1])
        model = transformers.BertForSequenceClassification(config)
        return Case(model, lambda run: run(input_ids=words, labels=labels).loss)
    if name == "gpt2":
        config = transformers.GPT2Config(n_embd=256, n_layer=layers, n_head=4, n_positions=128, **sizes)
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            **sizes,
        )
        model = transformers.LlamaForCausalLM(config)
    return Case(model, lambda run: run(input_ids=words, labels=words, use_cache=False).loss)

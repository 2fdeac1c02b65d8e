"""Networks of the max_batch case: called with a batch size by processes of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

Made = tuple[nn.Module, dict[str, Any]]


def bert_large(batch: int) -> Made:
    """BERT-large: 24 layers of 1024, sequence 128."""
    return _bert(batch, layers=24, width=1024, heads=16, tokens=128, words=30522)


def small(batch: int) -> Made:
    """Four blocks of 64, without any library."""
    return _Small(), {"x": torch.randn(batch, 64)}


def resnet50(batch: int) -> Made:
    """ResNet-50 on images of 224 by 224, in the layout that convolutions on the CPU need no copies for."""
    import transformers

    model = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=10)).train()
    images = torch.randn(batch, 3, 224, 224).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    return model.to(memory_format=torch.channels_last), {"pixel_values": images, "labels": labels}


def _bert(batch: int, layers: int, width: int, heads: int, tokens: int, words: int) -> Made:
    import transformers

    config = transformers.BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        attn_implementation="eager",
    )
    model = transformers.BertForSequenceClassification(config).train()
    inputs = {"input_ids": torch.randint(0, words, (batch, tokens)), "labels": torch.randint(0, 2, (batch,))}
    return model, inputs


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x))


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_Block() for _ in range(4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self.blocks(x).square().mean()
        return loss

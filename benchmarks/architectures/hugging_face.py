"""Classes of transformers: convolutional, encoder, decoder, encoder-decoder."""

from __future__ import annotations

from typing import Any

import torch

from ..networks import Built


def resnet(tiny: bool) -> Built:
    """ResNet of basic blocks on images."""
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes: dict[str, Any] = {"embedding_size": 32, "hidden_sizes": [32, 64, 128, 256], "depths": [2, 2, 2, 2]}
    if tiny:
        sizes = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}
    model = ResNetForImageClassification(ResNetConfig(layer_type="basic", num_labels=10, **sizes)).train()
    batch, side = (2, 64) if tiny else (8, 128)
    images, labels = torch.randn(batch, 3, side, side), torch.randint(10, (batch,))
    return Built(model, lambda: model(images, labels=labels).loss, batch)


def bert(tiny: bool) -> Built:
    """BERT classifying padded sequences; attention in plain operations."""
    from transformers import BertConfig, BertForSequenceClassification

    layers, width = (1, 128) if tiny else (4, 256)
    config = BertConfig(
        vocab_size=1000,
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=width // 64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    model = BertForSequenceClassification(config).train()
    batch, tokens = (2, 64) if tiny else (8, 128)
    words, labels = torch.randint(1000, (batch, tokens)), torch.randint(2, (batch,))
    seen = (torch.arange(tokens) < torch.randint(tokens // 2, tokens + 1, (batch, 1))).long()
    return Built(model, lambda: model(words, attention_mask=seen, labels=labels).loss, batch)


def llama(tiny: bool) -> Built:
    """Llama predicting the next token: scaled dot product attention, rotary positions, RMS norm, gated SiLU."""
    from transformers import LlamaConfig, LlamaForCausalLM

    layers, width = (1, 128) if tiny else (4, 256)
    config = LlamaConfig(
        vocab_size=1000,
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=3 * width,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 64,
        use_cache=False,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config).train()
    batch, tokens = (2, 64) if tiny else (8, 128)
    words = torch.randint(1000, (batch, tokens))
    return Built(model, lambda: model(words, labels=words).loss, batch)


def t5(tiny: bool) -> Built:
    """T5 from one sequence to another: relative positions, attention without scale, RMS norm, ReLU."""
    from transformers import T5Config, T5ForConditionalGeneration

    layers, width = (1, 128) if tiny else (3, 256)
    config = T5Config(
        vocab_size=1000,
        d_model=width,
        d_kv=32,
        d_ff=4 * width,
        num_layers=layers,
        num_heads=width // 32,
        dropout_rate=0.0,
        use_cache=False,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config).train()
    batch, tokens = (2, 64) if tiny else (8, 128)
    source, target = torch.randint(1000, (batch, tokens)), torch.randint(1000, (batch, tokens // 2))
    return Built(model, lambda: model(input_ids=source, labels=target).loss, batch)

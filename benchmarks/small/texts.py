"""Small language models of transformers."""

from __future__ import annotations

import torch

from ..networks import Built


def bert(tiny: bool) -> Built:
    """BERT of two layers, 128 wide, on 32 texts of 64 tokens."""
    return _bert(128, 2, *((2, 8) if tiny else (32, 64)))


def bert_deeper(tiny: bool) -> Built:
    """BERT of four layers, 256 wide, on 16 texts of 128 tokens."""
    return _bert(256, 1 if tiny else 4, *((2, 8) if tiny else (16, 128)))


def _bert(width: int, layers: int, batch: int, tokens: int) -> Built:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForSequenceClassification(config).train()
    ids, labels = torch.randint(0, 1000, (batch, tokens)), torch.randint(0, 2, (batch,))
    return Built(model, lambda: model(input_ids=ids, labels=labels).loss, batch)


def llama(tiny: bool) -> Built:
    """Llama of four layers, 256 wide, on eight texts of 128 tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    batch, tokens = (2, 8) if tiny else (8, 128)
    config = LlamaConfig(
        vocab_size=1000,
        num_hidden_layers=1 if tiny else 4,
        hidden_size=256,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=688,
    )
    model = LlamaForCausalLM(config).train()
    ids = torch.randint(0, 1000, (batch, tokens))
    return Built(model, lambda: model(input_ids=ids, labels=ids).loss, batch)

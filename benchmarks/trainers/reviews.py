"""transformers' ``Trainer`` fine-tunes MiniLM on movie reviews."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from ..datasets import minilm, movie_reviews
from .hugging_face import options, run
from .record import Asked, Trained

TOKENS = 32


def trainer(asked: Asked) -> Trained:
    """MiniLM (6 layers, 384 wide, dropout as it comes), batches of 8 padded to their longest sentence, AdamW.

    Args:
        asked: How to train.
    """
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    steps = 6 if asked.tiny else 30
    arguments = TrainingArguments(**options(asked, steps, learning_rate=3e-4, per_device_train_batch_size=8))
    rows = _random() if asked.tiny else _sentences()
    collate = None if asked.tiny else DataCollatorWithPadding(_tokenizer())
    made = Trainer(_model(asked), arguments, train_dataset=rows, data_collator=collate)  # type: ignore[arg-type]
    return run(asked, made, steps)


def _model(asked: Asked) -> nn.Module:
    from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

    torch.manual_seed(asked.seed)
    if asked.tiny:
        sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
        return BertForSequenceClassification(BertConfig(vocab_size=100, **sizes))
    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(minilm())
    return model


def _random() -> list[dict[str, Any]]:
    words = torch.randint(100, (64, 16), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": int(row.sum() > 800)} for row in words]


@cache
def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm())


@cache
def _sentences() -> list[dict[str, Any]]:
    texts, labels = movie_reviews()
    found = _tokenizer()(texts, truncation=True, max_length=TOKENS)["input_ids"]
    return [{"input_ids": words, "labels": label} for words, label in zip(found, labels, strict=True)]

"""A sentence encoder fine-tuned to tell praise from blame."""

from __future__ import annotations

import os
from functools import cache

import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from ..datasets import minilm, movie_reviews
from .task import Task

BATCH = 16
TOKENS = 32
TEST = 400


def reviews(tiny: bool) -> Task:
    """MiniLM (6 layers, 384 wide) on sentences of movie reviews: 40 batches of 16, AdamW; accuracy on 400 others.

    Args:
        tiny: A small network with random weights on random words, to see that it runs.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification, logging

    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": 2}
    if tiny:
        sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
        model = BertForSequenceClassification(BertConfig(vocab_size=100, **sizes, **off))
        words, seen, labels = torch.randint(100, (64, 8)), torch.ones(64, 8), torch.randint(2, (64,))
        train, test = torch.arange(48), torch.arange(48, 64)
    else:
        logging.set_verbosity_error()
        model = AutoModelForSequenceClassification.from_pretrained(minilm(), **off)
        words, seen, labels = _tokenized()
        # The same sentences are held out whatever the seed.
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        train, test = order[TEST:], order[:TEST]
    model.train()
    batches = train[torch.randperm(len(train))].split(BATCH)[: 3 if tiny else 40]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    schedule = OneCycleLR(optimizer, max_lr=1e-4, total_steps=len(batches), pct_start=0.1, cycle_momentum=False)

    def logits(some: Tensor) -> Tensor:
        longest = int(seen[some].sum(1).max())
        return model(words[some, :longest], attention_mask=seen[some, :longest]).logits

    def loss(step: int) -> Tensor:
        return torch.nn.functional.cross_entropy(logits(batches[step]), labels[batches[step]])

    def evaluate() -> float:
        return float(torch.cat([logits(some).argmax(1) == labels[some] for some in test.split(100)]).double().mean())

    return Task(model, loss, len(batches), optimizer, schedule, "test_accuracy", evaluate)


@cache
def _tokenized() -> tuple[Tensor, Tensor, Tensor]:
    from transformers import AutoTokenizer

    texts, labels = movie_reviews()
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    made = tokenizer(texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
    return made["input_ids"], made["attention_mask"], torch.tensor(labels)

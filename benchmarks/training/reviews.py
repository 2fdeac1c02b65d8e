"""A sentence encoder fine-tuned to tell praise from blame."""

from __future__ import annotations

import os
from functools import cache

import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from ..datasets import minilm, movie_reviews
from .task import Task

TOKENS = 32


def reviews(tiny: bool) -> Task:
    """MiniLM (6 layers, 384 wide) on sentences of movie reviews: 40 batches of 16, AdamW; accuracy on 400 others.

    Args:
        tiny: A small network with random weights on random words, to see that it runs.
    """
    return _reviews(tiny, steps=40, batch=16, rate=1e-4, held_out=400)


def reviews_long(tiny: bool) -> Task:
    """The same until it has settled: 200 batches of 8; accuracy on 1,000 others.

    Args:
        tiny: As above.
    """
    return _reviews(tiny, steps=200, batch=8, rate=5e-5, held_out=1000)


def _reviews(tiny: bool, steps: int, batch: int, rate: float, held_out: int) -> Task:
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
        train, test = order[held_out:], order[:held_out]
    model.train()
    batches = train[torch.randperm(len(train))].split(batch)[: 3 if tiny else steps]
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = OneCycleLR(optimizer, max_lr=rate, total_steps=len(batches), pct_start=0.1, cycle_momentum=False)

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

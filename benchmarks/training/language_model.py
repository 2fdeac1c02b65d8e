"""A pretrained language model fine-tuned on the speeches on the State of the Union."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from ..datasets import state_of_the_union
from ..pretrained import language_model
from .task import Task

BATCH, TOKENS, STEPS = 4, 32, 60
HELD_OUT = 48


def smollm2(tiny: bool) -> Task:
    """SmolLM2-135M on the speeches: 60 batches of 4 x 32 tokens, AdamW; loss on 48 windows of the last ones.

    Args:
        tiny: A small Llama with random weights on random words, to see that it runs.
    """
    return _task(tiny, rate=2e-5)


def smollm2_lora(tiny: bool) -> Task:
    """The same with its weights frozen and adapters of rank 8 beside all its projections.

    Args:
        tiny: As above.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    return _task(tiny, rate=1e-3, change=lambda model: get_peft_model(model, config))


def _task(tiny: bool, rate: float, change: Any = lambda model: model) -> Task:
    words, model = _small() if tiny else _pretrained()
    length, steps, batch = (8, 3, 2) if tiny else (TOKENS, STEPS, BATCH)
    windows = words[: len(words) // length * length].view(-1, length)
    train, test = windows[:-HELD_OUT], windows[-HELD_OUT:]
    batches = train[torch.randperm(len(train))[: steps * batch]].split(batch)
    model = change(model).train()
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=rate)
    schedule = OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=0.1, cycle_momentum=False)

    def of(some: Tensor) -> Tensor:
        return model(input_ids=some, labels=some, use_cache=False).loss  # type: ignore[no-any-return]

    def evaluate() -> float:
        return float(torch.stack([of(some) for some in test.split(8)]).mean())

    return Task(model, lambda step: of(batches[step]), steps, optimizer, schedule, "validation_loss", evaluate)


def _pretrained() -> tuple[Tensor, nn.Module]:
    model, tokenizer = language_model()
    text = state_of_the_union()
    return tokenizer(text[-2_000_000:], return_tensors="pt", verbose=False).input_ids[0], model


def _small() -> tuple[Tensor, nn.Module]:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
    return torch.randint(100, (1000,)), LlamaForCausalLM(LlamaConfig(vocab_size=100, **sizes))

"""TRL's ``SFTTrainer`` trains LoRA adapters of a small Llama on movie reviews, letter by letter."""

from __future__ import annotations

import string
from functools import cache
from typing import Any

import torch

from ..datasets import movie_reviews
from .hugging_face import options, run
from .record import Asked, Trained

LETTERS = string.ascii_lowercase + string.digits + ".,'!?-_"
TOKENS = 128


def trainer(asked: Asked) -> Trained:
    """4 layers, 128 wide, random weights; adapters of rank 8 on all linear layers, embeddings and head trained; AdamW.

    Args:
        asked: How to train.
    """
    from peft import LoraConfig
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    import datasets

    datasets.disable_progress_bars()
    torch.manual_seed(asked.seed)
    size = 64 if asked.tiny else 128
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(_tokenizer()),
            hidden_size=size,
            intermediate_size=2 * size,
            num_hidden_layers=1 if asked.tiny else 4,
            num_attention_heads=4,
        )
    )
    steps = 6 if asked.tiny else 40
    more = {"per_device_train_batch_size": 8, "learning_rate": 5e-3, "bf16": False, "max_length": TOKENS}
    own = "activation_checkpointing" if hasattr(SFTConfig, "activation_checkpointing") else "gradient_checkpointing"
    made = SFTTrainer(
        network,
        SFTConfig(**options(asked, steps, **{own: False}, **more)),
        train_dataset=datasets.Dataset.from_dict({"text": _random() if asked.tiny else _texts()}),
        processing_class=_tokenizer(),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=8, target_modules="all-linear", modules_to_save=["embed_tokens", "lm_head"]
        ),
    )
    return run(asked, made, steps)


@cache
def _tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<pad>", "<eos>", *LETTERS])}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>")


def _random() -> list[str]:
    return ["abcdefghij " * 6] * 64


@cache
def _texts() -> list[str]:
    texts, _ = movie_reviews()
    return ["".join(each if each in LETTERS else "_" for each in text.lower()) for text in texts[:2000]]

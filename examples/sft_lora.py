"""Supervised fine-tuning with TRL and LoRA: the callback is the one line. Needs trl and peft.

A small Llama with random weights learns an alphabet; take a pretrained model, its tokenizer and your data instead.
"""

import tempfile

import torch
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from datasets import Dataset
from gact.integrations.transformers import ActivationCompressionCallback

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Of TRL, which is on by default; transformers before 5.24 called it otherwise.
CHECKPOINTING = "activation_checkpointing"
if not hasattr(SFTConfig, CHECKPOINTING):
    CHECKPOINTING = "gradient_checkpointing"


def tokenizer() -> PreTrainedTokenizerFast:
    words = {word: number for number, word in enumerate(["<pad>", "<eos>", *LETTERS])}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>")


def main() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=28, hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4
    )
    text = " ".join(LETTERS * 4)
    compression = ActivationCompressionCallback(bits=4)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            LlamaForCausalLM(config),
            SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=8,
                max_steps=12,
                max_length=96,
                logging_steps=4,
                learning_rate=1e-2,
                bf16=False,
                **{CHECKPOINTING: False},
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict({"text": [text] * 96}),
            processing_class=tokenizer(),
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=["q_proj", "v_proj", "up_proj"]),
            callbacks=[compression],
        )
        trainer.train()
    print(compression.compressor.report())


if __name__ == "__main__":
    main()

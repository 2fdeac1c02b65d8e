"""Fine-tuning with transformers' Trainer: the callback is the one line. Needs transformers and accelerate.

A small BERT with random weights learns whether a sequence holds more even than odd tokens; take a pretrained model and
your data in its place.
"""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from gact.integrations.transformers import ActivationCompressionCallback


def sequences(count: int) -> list[dict[str, object]]:
    rows = torch.randint(0, 64, (count, 64))
    return [{"input_ids": row, "labels": int((row % 2 == 0).sum() > 32)} for row in rows]


def main() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=512
    )
    compression = ActivationCompressionCallback(bits=4)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            BertForSequenceClassification(config),
            TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=16,
                max_steps=12,
                logging_steps=4,
                learning_rate=1e-3,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=sequences(256),
            eval_dataset=sequences(64),
            callbacks=[compression],
        )
        trainer.train()
        print(trainer.evaluate())
    print(compression.compressor.report())


if __name__ == "__main__":
    main()

"""A small BERT, token sequences with labels that can be learnt, and a trainer of them."""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from gact.integrations.transformers import ActivationCompressionCallback

WORDS, LENGTH = 50, 32
# transformers called it otherwise before 5.24
CHECKPOINTING = "activation_checkpointing"
if not hasattr(TrainingArguments, CHECKPOINTING):
    CHECKPOINTING = "gradient_checkpointing"


def model(dropout=0.0):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    chances = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return BertForSequenceClassification(BertConfig(vocab_size=WORDS, **sizes, **chances))


def data(count=48):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, WORDS, (count, LENGTH), generator=generator)
    return [{"input_ids": row, "labels": int(row[0] > WORDS // 2)} for row in rows]


def callback(**options):
    return ActivationCompressionCallback(**{"bits": 4, "min_bytes": 1024, **options})


def arguments(folder, **options):
    given = {"per_device_train_batch_size": 8, "max_steps": 4, "logging_steps": 1, "save_strategy": "no", **options}
    given = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "learning_rate": 1e-3, "seed": 3, **given}
    return TrainingArguments(output_dir=str(folder), **given)


def trainer(folder, callbacks=(), network=None, kind=Trainer, **options):
    rows = data()
    given = {"model_init": network} if callable(network) and not isinstance(network, torch.nn.Module) else {}
    given = given or {"model": model() if network is None else network}
    return kind(
        args=arguments(folder, **options), train_dataset=rows, eval_dataset=rows[:16], callbacks=[*callbacks], **given
    )


def losses(done):
    return [entry["loss"] for entry in done.state.log_history if "loss" in entry]


def weights(done):
    return torch.cat([each.detach().flatten() for each in done.model.parameters()])

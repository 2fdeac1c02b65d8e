"""What readers of a page have: a model, data, an optimizer, and on some pages more."""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

import gact


def names(page):
    """The names that the blocks of a page take as given.

    Args:
        page: Path of the page below the root, without its ending.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 1024), nn.GELU(), nn.Linear(1024, 10))
    loader = [(torch.randn(256, 784), torch.randint(0, 10, (256,))) for _ in range(2)]
    given = {
        "torch": torch,
        "nn": nn,
        "gact": gact,
        "model": model,
        "loader": loader,
        "inputs": loader[0][0],
        "labels": loader[0][1],
        "criterion": nn.functional.cross_entropy,
        "optimizer": torch.optim.AdamW(model.parameters()),
    }
    return {**given, **MORE[page](given)} if page in MORE else given


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def _operators(_):
    """An operator of each kind that a user may have."""

    @torch.library.custom_op("mylib::scale", mutates_args=())
    def scale(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    return {
        "MyFunction": type("MyFunction", (_Scaled,), {}),
        "SwiGLU": type("SwiGLU", (_Scaled,), {}),
        "mylib_scale": scale,
    }


def _trainer(_):
    """A small BERT, its arguments and its data."""
    from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

    sizes = {"vocab_size": 64, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    rows = torch.randint(0, 64, (64, 64))
    return {
        "model": BertForSequenceClassification(BertConfig(**sizes, intermediate_size=128)),
        "arguments": TrainingArguments("out", max_steps=3, save_strategy="no", report_to=[], disable_tqdm=True),
        "dataset": [{"input_ids": row, "labels": int(row.sum() % 2)} for row in rows],
    }


def _data(_):
    examples = torch.utils.data.TensorDataset(torch.randn(512, 784), torch.randint(0, 10, (512,)))
    return {"data": torch.utils.data.DataLoader(examples, batch_size=256)}


def _lightning(given):
    """A module of Lightning and its data."""
    import lightning

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = nn.Sequential(nn.Linear(784, 1024), nn.GELU(), nn.Linear(1024, 10))

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters())

    return {"module": Classifier(), **_data(given)}


def _blocks(_):
    """A network of blocks that repeat, and a folder for codes."""
    blocks = [nn.Sequential(nn.LayerNorm(256), nn.Linear(256, 256), nn.GELU()) for _ in range(3)]
    return {
        "model": nn.Sequential(*blocks, nn.Linear(256, 10)),
        "inputs": torch.randn(256, 256),
        "scratch": Path.cwd(),
    }


def _graph(_):
    return {
        "features": torch.randn(3000, 64),
        "edges": torch.randint(0, 3000, (2, 12000)),
        "labels": torch.randint(0, 4, (3000,)),
    }


class _Loop:
    """The loop of a framework that has the model and the data."""

    def __init__(self, given):
        self._given = given
        self.model, self.model_parts = given["model"], [given["model"]]

    def train(self, *_):
        for inputs, labels in self._given["loader"]:
            self._given["criterion"](self.model(inputs), labels).backward()


def _frameworks(given):
    """What MMEngine, timm and torchtitan bring; the tests of integrations run the first as it is."""
    from mmengine.hooks import Hook

    loop = _Loop(given)
    making = SimpleNamespace(from_cfg=lambda config: loop, build=lambda: loop)
    mmengine = SimpleNamespace(hooks=SimpleNamespace(Hook=Hook))
    epochs = {"start_epoch": 0, "num_epochs": 1, "train_one_epoch": loop.train}
    return {"Runner": making, "config": making, "mmengine": mmengine, **epochs}


def _step(given):
    return {"step": _Loop(given).train}


def _compressor(given):
    return {"compressor": gact.Compressor(given["model"], bits=4, min_bytes=0)}


MORE = {
    "docs/precision": _compressor,
    "docs/recipes": _frameworks,
    "docs/memory": _step,
    "docs/consumers": _operators,
    "docs/guides/trainer": _trainer,
    "docs/guides/lightning": _lightning,
    "docs/guides/accelerate": _data,
    "docs/guides/checkpointing": _blocks,
    "docs/guides/graphs": _graph,
}

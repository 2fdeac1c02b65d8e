"""Lightning's ``Trainer`` fits a module that classifies images of digits."""

from __future__ import annotations

import logging
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from gact.integrations.lightning import ActivationCompression

from .record import BITS, Asked, Trained, trained


def trainer(asked: Asked) -> Trained:
    """Five convolutions, 32 wide, with batch norm and ReLU; batches of 64 images of 16 x 16, AdamW.

    Args:
        asked: How to train.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    steps = 6 if asked.tiny else 40
    torch.manual_seed(asked.seed)
    module = _Module(8 if asked.tiny else 32)
    compression = ActivationCompression(bits=BITS) if asked.compressed else None
    extras: list[Any] = [compression] if asked.compressed else []
    if asked.stop:
        extras.append(ModelCheckpoint(asked.folder, "{epoch}", save_on_train_epoch_end=True))
    made = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1 if asked.stop else 2,
        callbacks=extras,
        logger=False,
        default_root_dir=asked.folder,
        enable_checkpointing=asked.stop,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    made.fit(module, _batches(asked, steps), ckpt_path=asked.folder / "epoch=0.ckpt" if asked.resume else None)
    return trained(module.losses, module, compression.compressor if compression is not None else None)


class _Module(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.losses: list[float] = []
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1)]
        for _ in range(4):
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)]
        self.network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """The loss of a batch."""
        images, labels = batch
        loss = F.cross_entropy(self.network(images), labels)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def _batches(asked: Asked, steps: int) -> DataLoader[Any]:
    """An epoch of half the steps, in an order of the seed's: Lightning does not go on inside of an epoch."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    images, labels = F.interpolate(images, scale_factor=2, mode="bilinear"), torch.tensor(raw.target)
    batch = 16 if asked.tiny else 64
    order = torch.randint(len(labels), (steps // 2 * batch,), generator=torch.Generator().manual_seed(asked.seed))
    return DataLoader(TensorDataset(images[order], labels[order]), batch_size=batch)

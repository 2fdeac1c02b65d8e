"""Images with Lightning: the callback is the one line. Needs lightning and scikit-learn for the data."""

import lightning
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gact.integrations.lightning import ActivationCompression


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, 32, 3, padding=1)]
        for _ in range(4):
            layers += [nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)]
        self.network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.network(images), labels)

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        images, labels = batch
        self.log("accuracy", (self.network(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def main() -> None:
    lightning.seed_everything(0, verbose=False)
    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    digits = TensorDataset(F.interpolate(images, scale_factor=2, mode="bilinear"), torch.tensor(raw.target))
    training, held_out = torch.utils.data.random_split(digits, [1500, len(digits) - 1500])
    compression = ActivationCompression(bits=4)
    trainer = lightning.Trainer(
        max_epochs=1,
        callbacks=[compression],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(), DataLoader(training, batch_size=64, shuffle=True), DataLoader(held_out, batch_size=64))
    print(f"accuracy on held-out images {trainer.callback_metrics['accuracy']:.1%}")
    print(compression.compressor.report())


if __name__ == "__main__":
    main()

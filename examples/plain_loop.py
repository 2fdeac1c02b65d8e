"""An ordinary training loop: a convolutional network on handwritten digits, with its activations held in 4 bits.

The line that differs from a loop without gact is marked. Needs scikit-learn for the data.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import gact


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    return F.interpolate(images, scale_factor=2, mode="bilinear"), torch.tensor(raw.target)


def main() -> None:
    torch.manual_seed(0)
    images, labels = digits()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 8 * 8, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    compressor = gact.Compressor(model, bits=4, adaptive=False)

    for epoch in range(3):
        for batch in torch.randperm(1500).split(100):
            with compressor:  # what autograd saves in here is compressed
                loss = F.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            accuracy = (model(images[1500:]).argmax(dim=1) == labels[1500:]).double().mean().item()
        model.train()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, accuracy on held-out images {accuracy:.1%}")

    print(compressor.report())


if __name__ == "__main__":
    main()

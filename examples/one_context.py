"""One context around a whole training, for loops that cannot be changed: everything inside it is compressed.

Here a one-dimensional network learns
to tell the frequency of a noisy wave, with gradients accumulated over two batches; its state is saved and loaded.
"""

import io

import torch
import torch.nn.functional as F
from torch import nn

import gact

LENGTH = 512


def waves(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy sine waves ``[count, 1, LENGTH]`` of four frequencies, and which it is."""
    labels = torch.randint(0, 4, (count,))
    time = torch.linspace(0, 1, LENGTH)
    phase = 6.28 * torch.rand(count, 1)
    clean = torch.sin(6.28 * (10.0 + 5.0 * labels[:, None]) * time + phase)
    return (clean + 0.5 * torch.randn(count, LENGTH)).unsqueeze(1), labels


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> float:
    """A loop that knows nothing of gact."""
    for _ in range(steps):
        for _ in range(2):
            inputs, labels = waves(32)
            loss = F.cross_entropy(model(inputs), labels) / 2
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return 2 * loss.item()


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(1, 16, 31, stride=2, padding=15),
        nn.GELU(),
        nn.Conv1d(16, 32, 15, stride=2, padding=7),
        nn.GELU(),
        nn.AdaptiveMaxPool1d(1),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    with gact.Compressor(model, bits=4, adaptive=False) as compressor:
        print(f"loss after 30 steps: {train(model, optimizer, 30):.3f}")

    checkpoint = io.BytesIO()
    torch.save({"model": model.state_dict(), "compressor": compressor.state_dict()}, checkpoint)
    checkpoint.seek(0)
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])

    resumed = gact.Compressor(model, bits=4, adaptive=False)
    resumed.load_state_dict(state["compressor"])
    with resumed:
        print(f"loss after 30 more: {train(model, optimizer, 30):.3f}")
    print(resumed.report())


if __name__ == "__main__":
    main()

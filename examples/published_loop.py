"""A loop written for the published package: only its import differs.

A multilayer perceptron learns to tell handwritten digits apart; its saved tensors take 4 bits on average, chosen by
measured sensitivity. Needs scikit-learn for the data.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from gact import compat as gact
from gact.compat import Controller


def main() -> None:
    torch.manual_seed(0)
    raw = load_digits()
    images, labels = torch.tensor(raw.images, dtype=torch.float32).flatten(1) / 16, torch.tensor(raw.target)

    gact.set_optimization_level("L2")
    model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    controller = Controller(model)
    controller.install_hook()

    for epoch in range(8):
        for batch in torch.randperm(1500).split(250):

            def backprop(batch=batch):
                model.train()
                output = model(images[batch])
                loss = F.cross_entropy(output, labels[batch])
                optimizer.zero_grad()
                loss.backward()
                del loss, output

            controller.iterate(backprop)  # runs it once; sensitivities are measured in its backward pass
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(images[1500:]).argmax(dim=1) == labels[1500:]).double().mean().item()
        print(f"epoch {epoch + 1}: accuracy on held-out images {accuracy:.1%}")

    controller.uninstall_hook()
    print(controller.compressor.report())


if __name__ == "__main__":
    main()

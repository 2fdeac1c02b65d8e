"""An integration: a trainer that knows nothing of gact has its forward passes run inside of a context."""

import torch

import gact


class Trainer:
    """Stands for that of another library."""

    def __init__(self, model):
        self.model, self.optimizer = model, torch.optim.SGD(model.parameters(), lr=0.01)

    def loss(self, x):
        return self.model(x).square().mean()

    def step(self, x):
        loss = self.loss(x)
        loss.backward()
        self.optimizer.step()


def compress(trainer, **options):
    """Has a trainer's forward passes compressed; returns the compressor."""
    compressor, loss = gact.Compressor(trainer.model, **options), trainer.loss

    def inside(*args):
        with compressor:
            return loss(*args)

    trainer.loss = inside
    return compressor


def test_it_trains_compressed():
    trainer = Trainer(torch.nn.Sequential(torch.nn.Linear(32, 512), torch.nn.GELU(), torch.nn.Linear(512, 8)))
    compressor = compress(trainer, bits=4, adaptive=False)
    trainer.step(torch.randn(256, 32))
    assert compressor.report().ratio > 3

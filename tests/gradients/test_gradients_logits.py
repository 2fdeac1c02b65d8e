"""Logits that are masked, padded, sure or unsure, under the losses that are made of their logarithms."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds, mlp, trained
from torch import nn

KINDS = Kinds()
MASKS = (-1e4, -1e9, torch.finfo(torch.float32).min, -torch.inf)
DIAGONAL = torch.eye(96, dtype=torch.bool)


@KINDS.of(*MASKS)
def cross_entropy_masked(least):
    model, x, y = mlp(32, 64, 300), torch.randn(64, 32), torch.randint(0, 200, (64,))
    masked = torch.arange(300) >= 200
    return model, lambda: F.cross_entropy(model(x).masked_fill(masked, least), y)


@KINDS.of(*MASKS)
def log_softmax_masked_at_random(least):
    model, x = mlp(32, 64, 200), torch.randn(64, 32)
    masked, weight = torch.rand(64, 200) < 0.3, torch.rand(64, 200)
    return (
        model,
        lambda: -(F.log_softmax(model(x).masked_fill(masked, least), -1).masked_fill(masked, 0) * weight).mean(),
    )


@KINDS.of(*MASKS)
def contrastive(least):
    model, x, pair = mlp(32, 64, 32), torch.randn(96, 32), torch.arange(96).roll(48)

    def loss():
        z = F.normalize(model(x), dim=-1)
        return F.cross_entropy((z @ z.t() / 0.1).masked_fill(DIAGONAL, least), pair)

    return model, loss


@KINDS.of(*MASKS)
def softmax_masked(least):
    model, x, v = mlp(32, 64, 192), torch.randn(64, 32), torch.randn(192, 16)
    masked = torch.rand(64, 192) < 0.3
    return model, lambda: (F.softmax(model(x).masked_fill(masked, least), -1) @ v).square().mean()


@KINDS.of(*MASKS)
def logsumexp_masked(least):
    model, x = mlp(32, 64, 192), torch.randn(64, 32)
    masked = torch.rand(64, 192) < 0.3
    return model, lambda: model(x).masked_fill(masked, least).logsumexp(-1).square().mean()


@KINDS.of(*((s, g) for s in ("sure", "unsure") for g in (0.0, 0.1)))
def padded_vocabulary(how, smoothing):
    """A vocabulary padded to a multiple, the padding masked; padded tokens are ignored."""
    model, ids = (
        nn.Sequential(nn.Embedding(500, 32), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 512)),
        torch.arange(96),
    )
    y = torch.randint(0, 500, (96,))
    y[::5] = -100
    padding = torch.zeros(512).masked_fill_(torch.arange(512) >= 500, -1e9)

    def loss():
        return F.cross_entropy(model(ids) + padding, y, ignore_index=-100, label_smoothing=smoothing)

    if how == "sure":
        trained(model, loss, 60, 1e-2)
    return model, loss


@KINDS.of("sure", "unsure")
def segmentation(how):
    model, x = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 21, 1)), torch.randn(2, 3, 16, 20)
    y = x.sum(1).mul(2).long().clamp(0, 20)
    y[:, :2] = 255

    def loss():
        return F.cross_entropy(model(x), y, ignore_index=255)

    if how == "sure":
        trained(model, loss, 60, 1e-2)
    return model, loss


@KINDS.of("sure", "unsure")
def label_smoothing(how):
    model, x, y = mlp(32, 64, 300), torch.randn(64, 32), torch.randint(0, 300, (64,))

    def loss():
        return F.cross_entropy(model(x), y, label_smoothing=0.1)

    if how == "sure":
        trained(model, loss, 60)
    return model, loss


@KINDS
def soft_targets():
    model, x = mlp(32, 64, 300), torch.randn(64, 32)
    y = torch.randn(64, 300).mul(3).softmax(-1)
    return model, lambda: F.cross_entropy(model(x), y)


@KINDS
def class_weights():
    model, x, y, w = mlp(32, 64, 300), torch.randn(64, 32), torch.randint(0, 300, (64,)), torch.rand(300)
    return model, lambda: F.cross_entropy(model(x), y, weight=w, reduction="sum")


@KINDS
def sure_classifier():
    model, x, y = mlp(64, 128, 150), torch.randn(150, 64), torch.arange(150)
    trained(model, lambda: F.cross_entropy(model(x), y))
    return model, lambda: F.cross_entropy(model(x), y)


@KINDS
def sure_classifier_written_out():
    model, x, y = mlp(64, 128, 100), torch.randn(100, 64), torch.arange(100)
    trained(model, lambda: F.cross_entropy(model(x), y))
    return model, lambda: -F.log_softmax(model(x), -1).gather(1, y[:, None]).mean()


@KINDS
def sure_binary_classifier():
    model, x = mlp(32, 64, 1), torch.randn(256, 32)
    y = (x[:, :1] > 0).float()
    trained(model, lambda: F.binary_cross_entropy_with_logits(model(x), y))
    return model, lambda: F.binary_cross_entropy_with_logits(model(x), y)


@pytest.mark.parametrize("name", KINDS)
def test_logits(name):
    KINDS.check(name)

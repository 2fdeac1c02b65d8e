"""Scores that are masked before a product: what stands for minus infinity is multiplied by a gradient of zero."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds, mlp
from measure import compressor, network_gradient
from torch import nn

KINDS = Kinds()
FILLS = (-1e4, -1e9, -1e30, torch.finfo(torch.float32).min / 4)


class Tempered(nn.Module):
    """Scores, and a temperature that learns."""

    def __init__(self):
        super().__init__()
        self.scores, self.temperature = mlp(32, 64, 128), nn.Parameter(torch.tensor(1.3))


def hidden(*size, share=0.3):
    found = torch.rand(*size) < share
    found[:, 0] = False
    return found


def loss_of(name, scores):
    if name == "cross_entropy":
        return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
    if name == "softmax":
        return -scores.softmax(-1)[:, 0].mean()
    if name == "sigmoid":
        return scores.sigmoid().square().mean()
    return (scores.softmax(-1) @ torch.arange(128.0)).square().mean() / 128


@KINDS.of(
    *((name, fill, "times", "put") for name in ("cross_entropy", "softmax", "sigmoid", "average") for fill in FILLS),
    *(
        (name, -1e9, way, how)
        for name in ("cross_entropy", "softmax")
        for way in ("over", "squared")
        for how in ("put",)
    ),
    *((name, fill, "times", "added") for name in ("cross_entropy", "softmax") for fill in FILLS[:3]),
    *((name, -1e9, "times", "seldom") for name in ("cross_entropy", "softmax")),
)
def temperature(name, fill, way, how):
    model, x = Tempered(), torch.randn(128, 32)
    mask = hidden(128, 128, share=0.001 if how == "seldom" else 0.3)

    def loss():
        scores, t = model.scores(x), model.temperature
        scores = scores + mask * fill if how == "added" else scores.masked_fill(mask, fill)
        return loss_of(name, scores * t if way == "times" else scores / t if way == "over" else scores * t * t)

    return model, loss


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name)


def test_loud_channels_are_no_fills():
    """Of which there are values of all sizes."""
    torch.manual_seed(0)
    model, x = nn.Linear(64, 64), torch.randn(512, 64) * torch.logspace(-1, 4, 64)
    c = compressor(model, 4)
    h = torch.randn(64)
    network_gradient(model, lambda: (model(x * h) * model(x)).mean())(c)
    assert "too far apart" not in str(c.report())

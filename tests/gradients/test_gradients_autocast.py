"""Autocast to bfloat16: weights are cast, and norms and losses run in float32."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds, mlp
from torch import nn

KINDS = Kinds()


def under_autocast(model, loss):
    def cast():
        with torch.autocast("cpu", torch.bfloat16):
            return loss()

    return model, cast


@KINDS
def convolutional():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.GroupNorm(4, 16)
    )
    model.extend([nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)])
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8)
    return under_autocast(model, lambda: F.cross_entropy(model(x), y))


@KINDS
def transformer():
    model, x = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, dropout=0.1), torch.randn(3, 20, 32)
    target = torch.randn(3, 20, 32)
    return under_autocast(model, lambda: (model(x) - target).square().mean())


@KINDS
def perceptron_with_norms():
    model = nn.Sequential(nn.Linear(32, 192), nn.LayerNorm(192), nn.GELU(), nn.Linear(192, 64), nn.RMSNorm(64))
    model.append(nn.Linear(64, 50))
    x, y = torch.randn(96, 32), torch.arange(96) % 50
    x[3] *= 1e-2
    return under_autocast(model, lambda: F.cross_entropy(model(x), y))


@KINDS
def sharp_attention():
    model, x, target = nn.Linear(32, 96), torch.randn(3, 24, 32), torch.randn(3, 24, 32)
    model.weight.data[:64] *= 8

    def loss():
        q, k, v = model(x).chunk(3, -1)
        return (F.scaled_dot_product_attention(q, k, v, is_causal=True) - target).square().mean()

    return under_autocast(model, loss)


@KINDS
def whole_network_in_bfloat16():
    model, x, y = mlp(32, 96, 50).bfloat16(), torch.randn(96, 32).bfloat16(), torch.arange(96) % 50
    return model, lambda: F.cross_entropy(model(x).float(), y)


@pytest.mark.parametrize("name", KINDS)
def test_autocast(name):
    KINDS.check(name)

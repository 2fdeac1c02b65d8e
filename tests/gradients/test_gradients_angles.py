"""Angles of vectors and rotations, whose cosine is near one, and distances of hyperbolic points that are near."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds
from measure import compressor, network_gradient
from torch import nn

KINDS = Kinds()
NEAR = 1 - 1e-5


def rotation(q):
    w, i, j, k = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w)]
    rows += [2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w)]
    rows += [2 * (i * k - j * w), 2 * (j * k + i * w), 1 - 2 * (i * i + j * j)]
    return torch.stack(rows, -1).view(-1, 3, 3)


def frame(six):
    a = F.normalize(six[:, :3], dim=1)
    b = F.normalize(six[:, 3:] - (a * six[:, 3:]).sum(1, keepdim=True) * a, dim=1)
    return torch.stack([a, b, torch.linalg.cross(a, b)], -1)


@KINDS.of("far", "near")
def angle_of_rotations(how):
    model, x = nn.Linear(32, 4), torch.randn(2048, 32)
    with torch.no_grad():
        aim = rotation(torch.randn(2048, 4) if how == "far" else model(x) + 0.1 * torch.randn(2048, 4))

    def loss():
        both = rotation(model(x)).mT @ aim
        return torch.acos(((both.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-NEAR, NEAR)).mean()

    return model, loss


@KINDS
def angle_of_frames():
    model, x = nn.Linear(32, 6), torch.randn(2048, 32)
    with torch.no_grad():
        aim = frame(model(x) + 0.05 * torch.randn(2048, 6))
    return model, lambda: torch.arccos(((frame(model(x)) * aim).sum((1, 2)) - 1).div(2).clamp(-NEAR, NEAR)).mean()


@KINDS.of(torch.acos, torch.asin, torch.atanh)
def angle_of_vectors(function):
    model, x = nn.Linear(32, 8), torch.randn(2048, 32)
    with torch.no_grad():
        aim = F.normalize(model(x) + 0.05 * torch.randn(2048, 8), dim=1)
    return model, lambda: function((F.normalize(model(x), dim=1) * aim).sum(1).clamp(-NEAR, NEAR)).mean()


@KINDS
def distance_of_hyperbolic_points():
    model, x = nn.Linear(32, 8), torch.randn(2048, 32)
    with torch.no_grad():
        aim = model(x) + 0.05 * torch.randn(2048, 8)

    def loss():
        y = model(x)
        product = (1 + y.square().sum(1)).sqrt() * (1 + aim.square().sum(1)).sqrt() - (y * aim).sum(1)
        return torch.acosh(product.clamp(min=1 + 1e-5)).mean()

    return model, loss


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name)


def test_angles_far_from_the_pole_keep_their_codes():
    torch.manual_seed(0)
    model, x = nn.Linear(32, 64), torch.randn(256, 32)
    c = compressor(model, 4)
    network_gradient(model, lambda: torch.asin(torch.sin(model(x)) * 0.5).mean())(c)
    assert "groups" in [row.codec for row in c.report().rows if row.op in ("sin", "mul")]

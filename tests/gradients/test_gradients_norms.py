"""Norms behind a layer, fused and written out, of widths that no group divides, with rows unlike the others."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds
from torch import nn

KINDS = Kinds()
ROWS, INPUTS, EPS = 48, 32, 1e-6
WIDTHS = (192, 200, 256, 320)
PLANES = {192: (12, 16), 200: (10, 20), 256: (16, 16), 320: (16, 20)}


def written(x, dims, centred=True):
    """A norm over dims, as it is written out where no module is used."""
    if centred:
        x = x - x.mean(dims, keepdim=True)
    return x * torch.rsqrt(x.pow(2).mean(dims, keepdim=True) + EPS)


ROW_NORMS = {
    "layer": lambda h, w, b: F.layer_norm(h, w.shape, w, b, EPS),
    "rms": lambda h, w, b: F.rms_norm(h, w.shape, w, EPS),
    "layer written": lambda h, w, b: written(h, -1) * w + b,
    "rms written": lambda h, w, b: written(h, -1, centred=False) * w,
}
PLANE_NORMS = {
    "group": lambda h, w, b: F.group_norm(h, 4, w, b, EPS),
    "instance": lambda h, w, b: F.instance_norm(h, None, None, w, b, True, 0.1, EPS),
    "batch": lambda h, w, b: F.batch_norm(h, None, None, w, b, True, 0.1, EPS),
    "group written": lambda h, w, b: written(h.unflatten(1, (4, -1)), (2, 3, 4)).flatten(1, 2) * col(w) + col(b),
    "instance written": lambda h, w, b: written(h, (2, 3)) * col(w) + col(b),
    "batch written": lambda h, w, b: written(h, (0, 2, 3)) * col(w) + col(b),
}


def col(w):
    return w[:, None, None]


def rows(x, weight, kind):
    """Makes one row of the input unlike the others."""
    if kind == "zero row":
        x[5] = 0
    elif kind == "quiet row":
        x[5] *= 1e-3
    elif kind == "loud row":
        x[5] *= 1e3
    elif kind == "row of large mean":
        weight.data[:, 0] = 1
        x[:, 0] = 0
        x[5] *= 1e-2
        x[5, 0] = 30


def planes(x, weight, kind):
    """Makes one sample, or one channel of the layer's result, unlike the others."""
    if kind == "zero sample":
        x[1] = 0
    elif kind == "quiet sample":
        x[1] *= 1e-3
    elif kind == "loud sample":
        x[1] *= 1e3
    elif kind == "quiet channel":
        weight.data[3] *= 1e-3
    elif kind == "sample of large mean":
        x[1] = x[1] * 1e-2 + 30


@KINDS.of(*((n, k) for n in ROW_NORMS for k in ("zero row", "quiet row", "loud row", "row of large mean")))
def linear_before(norm, kind):
    model = nn.ModuleList()
    data = []
    for width in WIDTHS if "written" not in norm else (192, 320):
        layer, affine = nn.Linear(INPUTS, width, bias=False), nn.LayerNorm(width)
        x = torch.randn(ROWS, INPUTS)
        rows(x, layer.weight, kind)
        model.append(nn.ModuleList([layer, affine]))
        data.append((layer, affine, x, torch.randn(ROWS, width)))
    return model, lambda: sum((ROW_NORMS[norm](f(x), a.weight, a.bias) * w).sum() for f, a, x, w in data)


SAMPLE_KINDS = ("zero sample", "quiet sample", "loud sample", "quiet channel", "sample of large mean")


@KINDS.of(*((n, k) for n in PLANE_NORMS for k in SAMPLE_KINDS))
def conv_before(norm, kind):
    model = nn.ModuleList()
    data = []
    for width in WIDTHS if "written" not in norm else (192, 320):
        layer, affine = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.GroupNorm(4, 8)
        x = torch.randn(4, 3, *PLANES[width])
        planes(x, layer.weight, kind)
        model.append(nn.ModuleList([layer, affine]))
        data.append((layer, affine, x, torch.randn(4, 8, *PLANES[width])))
    return model, lambda: sum((PLANE_NORMS[norm](f(x), a.weight, a.bias) * w).sum() for f, a, x, w in data)


@KINDS
def sink():
    """One token's activations are a thousand times the others'."""
    model, x = nn.Sequential(nn.Linear(32, 576), nn.ReLU(), nn.LayerNorm(576), nn.Linear(576, 8)), torch.randn(64, 32)
    x[0] *= 1500
    return model, lambda: model(x).square().mean()


@KINDS
def normalised_by_a_norm():
    model, x, w = nn.Linear(INPUTS, 200), torch.randn(ROWS, INPUTS), torch.randn(ROWS, 200)
    x[3] *= 1e-3
    return model, lambda: (F.normalize(model(x), dim=-1) * w).sum()


@pytest.mark.parametrize("name", KINDS)
def test_norms(name):
    KINDS.check(name)

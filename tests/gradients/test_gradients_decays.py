"""Linear attention with decay, in chunks: what one exponential makes tiny another makes huge."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds
from measure import compressor, network_gradient
from torch import nn

KINDS = Kinds()
BATCH, STEPS = 8, 64


def layer(width, gates):
    model = nn.Linear(STEPS, 3 * width + gates)
    x, t = torch.randn(BATCH, STEPS, STEPS), torch.randn(BATCH, STEPS, width)
    parts = (width, width, width, gates)
    return model, lambda: model(x).split(parts, -1), t


def of_queries_and_keys(way, q, k, b):
    """Products of queries and keys, each in its place."""
    if way == "divided":
        return (q * b.exp()) @ (k / b.exp()).mT
    if way == "product":  # of gates
        decay = b.diff(dim=1, prepend=torch.zeros_like(b[:, :1])).exp().cumprod(1)
        return (q * decay) @ (k / decay).mT
    if way == "sum":
        return torch.einsum("bid,bjd->bij", q * b.exp(), k * (-b).exp())
    return (q * b.exp()) @ (k * (-b).exp()).mT


@KINDS.of(
    *(("pair", width, gates, rate) for width, gates in ((64, 64), (64, 1), (16, 1), (16, 16)) for rate in (0.1, 0.5)),
    *((way, 64, gates, 0.2) for way in ("divided", "product", "sum", "state", "norm") for gates in (1, 64)),
)
def chunk(way, width, gates, rate):
    model, parts, t = layer(width, gates)
    allowed = torch.ones(STEPS, STEPS).tril()

    def loss():
        q, k, v, gate = parts()
        b = (F.logsigmoid(gate) * 1.4 * rate).cumsum(1)
        h = (of_queries_and_keys(way, q, k, b) * allowed) @ v
        if way == "state":
            h = h + (q * b.exp()) @ ((k * (b[:, -1:] - b).exp()).mT @ v)
        h = F.rms_norm(h, (width,)) if way == "norm" else h
        return (h * t).mean()

    return model, loss


@KINDS.of(16, 64)
def scan_by_sums(width):
    """States that decay, as sums of what was divided by the decay: large values, and few before the divisor is seen."""
    model, x = nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, width), nn.Linear(64, width)]), torch.randn(2, 64, 64)
    rates = nn.Parameter(torch.arange(1.0, width + 1).log().repeat(64, 1) / width * 16)
    model.register_parameter("rates", rates)
    steps, t = nn.Linear(64, 64), x.roll(1, 1)
    model.append(steps)

    def loss():
        u, dt = F.silu(model[0](x)), F.softplus(steps(x))
        added = dt[..., None] * model[1](u)[:, :, None] * u[..., None]
        decay = torch.cumsum(dt[..., None] * -rates.exp(), 1).clamp(-20)
        h = torch.cumsum(added / (torch.exp(decay) + 1e-12), 1) * torch.exp(decay)
        return ((h * model[2](u)[:, :, None]).sum(-1) + u - t).pow(2).mean()

    return model, loss


@KINDS.of(
    *((way, gates) for way in ("retained", "filled", "where", "softmax", "cumulated", "norm") for gates in (1, 64))
)
def masked(way, gates):
    """Differences of decays, of which a mask leaves those that are no growth."""
    model, parts, t = layer(64, gates)
    allowed = torch.ones(STEPS, STEPS).tril() > 0

    def loss():
        q, k, v, gate = parts()
        b = (F.logsigmoid(gate) * 0.3).cumsum(1)
        scores = q @ k.mT / 8
        between = (b[:, :, None] - b[:, None]).mean(-1)
        if way == "softmax":
            weights = (scores + between).masked_fill(~allowed, -torch.inf).softmax(-1)
        elif way == "filled":
            weights = scores * between.masked_fill(~allowed, -torch.inf).exp()
        elif way == "where":
            weights = scores * torch.where(allowed, between, 0).exp() * allowed
        elif way == "cumulated":
            weights = scores * (b.exp().mean(-1)[:, :, None] / b.exp().mean(-1)[:, None]) * allowed
        else:
            weights = scores * (between.exp() * allowed)
        h = weights @ v
        h = F.layer_norm(h, (64,)) if way == "norm" else h
        return (h * t).mean()

    return model, loss


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name)


@pytest.mark.parametrize("way", ["segments", "softmax"])
def test_exponentials_that_nothing_undoes_leave_codes(way):
    torch.manual_seed(0)
    model, parts, t = layer(64, 1)
    allowed = torch.ones(STEPS, STEPS).tril() > 0

    def loss():
        q, k, v, gate = parts()
        b, scores = F.logsigmoid(gate).cumsum(1), q @ k.mT / 8
        if way == "segments":
            weights = scores * (b - b.mT).masked_fill(~allowed, -torch.inf).exp()
        else:
            e = scores.masked_fill(~allowed, -1e9).exp()
            weights = e / e.sum(-1, keepdim=True)
        return (weights @ v * t).mean()

    c = compressor(model, 4)
    for _ in range(2):
        network_gradient(model, loss)(c)
    assert "undo" not in str(c.report())

"""Weights that add to one, times values that lie far from zero: what all values have in common cancels."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds, mlp
from measure import compressor, network_gradient

KINDS = Kinds()


def weights_of(way, logits):
    if way == "logarithm":
        return logits.log_softmax(-1).exp()
    if way == "difference":
        return (logits - logits.logsumexp(-1, keepdim=True)).exp()
    if way == "powers of two":
        return torch.exp2((logits - logits.logsumexp(-1, keepdim=True)) / 0.6931471805599453)
    shifted = logits - logits.detach().amax(-1, keepdim=True)
    return (shifted - shifted.exp().sum(-1, keepdim=True).log()).exp()


@KINDS.of(
    *((way, offset) for way in ("logarithm", "difference", "powers of two", "by hand") for offset in (0.0, 1000.0))
)
def expected_value(way, offset):
    model, x, t = mlp(32, 101), torch.randn(256, 32), torch.rand(256) * 100
    values = torch.arange(101.0) + offset
    return model, lambda: F.smooth_l1_loss((weights_of(way, 3 * model(x)) * values).sum(-1), t + offset)


@KINDS.of(*((shape, offset) for shape in ("flat", "sharp", "columns", "attention") for offset in (0.0, 1000.0)))
def softmax(shape, offset):
    """Over rows, over columns, of sharp rows whose greatest is held aside, and of attention."""
    model, x, t = mlp(32, 96), torch.randn(256, 32), torch.rand(256, 96) * 100
    values = torch.rand(96, 96) * 100 + offset

    def loss():
        h = (8 if shape == "sharp" else 1) * model(x)
        if shape == "attention":
            a, b, c = h.view(4, 64, 3, 32).unbind(2)
            return F.smooth_l1_loss((a @ b.mT).softmax(-1) @ (c * 30 + offset), t.view(4, 64, 96)[..., :32] + offset)
        p = h.mT.softmax(0).mT if shape == "columns" else h.softmax(-1)
        return F.smooth_l1_loss(p @ values, t + offset)

    return model, loss


SHARES = {
    "divided": lambda e: e / e.sum(-1, keepdim=True),
    "shifted": lambda e: e / (e.sum(-1) + 1e-6)[..., None],
    "multiplied": lambda e: e.sum(-1, keepdim=True).reciprocal() * e,
    "of the mean": lambda e: e / e.mean(-1, keepdim=True) / e.shape[-1],
    "masked": lambda e: SHARES["divided"](e * (torch.arange(e.shape[-1]) % 3 > 0)),
}


@KINDS.of(*((way, size, offset) for way in SHARES for size in (1.0, 3.0) for offset in (0.0, 1000.0)))
def softmax_by_hand(way, size, offset):
    model, x, t = mlp(32, 96), torch.randn(256, 32), torch.rand(256, 96) * 100
    values = torch.rand(96, 96) * 100 + offset

    def loss():
        logits = size * model(x)
        e = torch.exp(logits - logits.amax(-1, keepdim=True).detach())
        return F.smooth_l1_loss(SHARES[way](e) @ values, t + offset)

    return model, loss


@KINDS.of(0.0, 1000.0)
def attention_by_hand(offset):
    model, x, t = mlp(32, 96), torch.randn(256, 32), torch.rand(4, 64, 32) * 100

    def loss():
        a, b, c = model(x).view(4, 64, 3, 32).unbind(2)
        scores = a @ b.mT
        return F.smooth_l1_loss(SHARES["divided"](scores.exp()) @ (c * 30 + offset), t + offset)

    return model, loss


@KINDS.of(0.0, 1000.0)
def gates_of_a_router(offset):
    model, x, t = mlp(32, 64), torch.randn(256, 32), torch.rand(256, 32) * 100
    values = torch.rand(64, 32) * 100 + offset
    return model, lambda: F.smooth_l1_loss(SHARES["divided"](model(x).sigmoid()) @ values, t + offset)


@KINDS.of(0.0, 100.0)
def transport(offset):
    """The cost of a plan, of which rows and columns are normalised in turn."""
    model, x, y = mlp(32, 32), torch.randn(64, 32), torch.randn(64, 32)

    def loss():
        cost = torch.cdist(model(x), y) ** 2 + offset
        u, v = torch.zeros(64), torch.zeros(64)
        for _ in range(5):
            u = -5 * torch.logsumexp((v[None] - cost) / 5, 1)
            v = -5 * torch.logsumexp((u[:, None] - cost) / 5, 0)
        return (torch.exp((u[:, None] + v[None] - cost) / 5) * cost).sum() / 64

    return model, loss


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name)


def test_a_ratio_of_what_was_picked_leaves_probabilities_coded():
    """Of a policy: one log-probability of each row, less that of another policy."""
    torch.manual_seed(0)
    model, x, picked = mlp(32, 512), torch.randn(64, 32), torch.randint(512, (64, 1))
    before = model(x).log_softmax(-1).gather(1, picked).detach()
    c = compressor(model, 4)
    network_gradient(model, lambda: (model(x).log_softmax(-1).gather(1, picked) - before).exp().mean())(c)
    assert [row.codec for row in c.report().rows if row.op == "log_softmax"] == ["groups"]

"""Products that are made again, whose factors differ by orders of magnitude, and what divides by their sums."""

import pytest
import torch
from kinds import Kinds
from measure import compressor, network_gradient, off
from torch import nn

KINDS = Kinds()
ROWS, WIDTH = 2048, 64


def halves():
    """A layer whose outputs are two tensors, its input, and weights of the loss."""
    layer, x, t = nn.Linear(WIDTH, 2 * WIDTH), torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH)
    return layer, x, t


def renormalised(way):
    """Attention whose weights are masked after the softmax, and divided by what is left of each row."""
    model, x, t = halves()
    allowed = torch.ones(WIDTH, WIDTH).tril()
    t = t.view(-1, WIDTH, WIDTH)

    def loss():
        h, k = (each.reshape(-1, WIDTH, WIDTH) for each in model(x).chunk(2, -1))
        p = (h @ k.transpose(1, 2) / 3).softmax(-1)
        p = p.clone().mul_(allowed) if way == "in place" else allowed * p if way == "before" else p * allowed
        return ((p / (p.sum(-1, keepdim=True) + 1e-9)) @ t * t).sum()

    return model, loss


KINDS.of("behind", "before", "in place")(renormalised)


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name, (8, 4, 2) if name.endswith("behind") else (4,))


def test_a_factor_that_is_divided_out_again():
    """Its own codes are noisy below 8 bits; made again of two codes the square was biased besides."""
    torch.manual_seed(0)
    model, x, t = halves()

    def loss():
        h, k = model(x).chunk(2, -1)
        return ((h * torch.exp(2 * k) + t) * torch.exp(-2 * k)).square().mean()

    gradient = network_gradient(model, loss)
    g0 = gradient(torch.enable_grad())
    for bits, most in ((8, 3e-3), (4, 2.0)):
        c = compressor(model, bits)
        found = [gradient(c) for _ in range(16)]
        noise = sum(off(g, g0) for g in found) / 16
        assert noise < most, bits
        assert off(torch.stack(found).mean(0), g0) < noise / 4, bits


@pytest.mark.parametrize("factor", ["gate", "rows", "dropped"])
def test_ordinary_factors_leave_recipes(factor):
    torch.manual_seed(0)
    model, x, _ = halves()
    last = nn.Linear(WIDTH, WIDTH)
    dropped = (torch.rand(WIDTH) < 0.9) / 0.9

    def loss():
        h, k = model(x).chunk(2, -1)
        h = torch.tanh(h)
        scale = {"gate": k.sigmoid(), "rows": torch.rsqrt(h.square().mean(1, keepdim=True)), "dropped": dropped}
        return last(h * scale[factor]).square().mean()

    c = compressor(model, 4)
    for _ in range(2):
        network_gradient(model, loss)(c)
    assert any(row.op == "linear" and row.codec == "derived" for row in c.report().rows), str(c.report())

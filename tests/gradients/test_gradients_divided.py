"""Rows of which little is left, and what divides by that: sums, means and norms behind masks and selections."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds
from measure import compressor, network_gradient, off
from torch import nn

KINDS = Kinds()
ROWS, WIDTH = 256, 64


def halves(outputs=2 * WIDTH):
    return nn.Linear(WIDTH, outputs), torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH)


def row_sum(q):
    return q.sum(-1, keepdim=True)


LEFT = {
    "product": lambda p, mask: p * mask,
    "floats": lambda p, mask: p * mask.float(),
    "where": lambda p, mask: torch.where(mask, p, 0.0),
    "filled": lambda p, mask: p.masked_fill(~mask, 0),
    "scattered": lambda p, mask: torch.zeros_like(p).masked_scatter(mask, p[mask]),
    "in place": lambda p, mask: p.clone().mul_(mask),
}
DIVIDED = {
    "sum": lambda q: q / (row_sum(q) + 1e-9),
    "clamped": lambda q: q / row_sum(q).clamp(min=1e-9),
    "mean": lambda q: q / (q.mean(-1, keepdim=True) + 1e-11),
    "reciprocal": lambda q: q * (row_sum(q) + 1e-9).reciprocal(),
    "power": lambda q: q * (row_sum(q) + 1e-9) ** -1,
    "ones": lambda q: q / (q @ torch.ones(WIDTH, 1) + 1e-9),
    "root": lambda q: q / (row_sum(q.pow(2)) + 1e-18).sqrt(),
    "rsqrt": lambda q: q * (row_sum(q.square()) + 1e-18).rsqrt(),
    "norm": lambda q: q / (q.norm(dim=-1, keepdim=True) + 1e-9),
    "normalize": lambda q: F.normalize(q, dim=-1),
    "rms norm": lambda q: F.rms_norm(q, (WIDTH,), eps=1e-20),
    "layer norm by hand": lambda q: DIVIDED["root"](q - q.mean(-1, keepdim=True)),
    "variance": lambda q: (q - q.mean(-1, keepdim=True)) / (q.var(-1, keepdim=True) + 1e-18).sqrt(),
}


@KINDS.of(*((way, "sum") for way in LEFT), *(("product", way) for way in DIVIDED if way != "sum"))
def softmax(left, divided):
    model, x, t = halves()

    def loss():
        h, k = model(x).chunk(2, -1)
        return (DIVIDED[divided](LEFT[left]((8 * h).softmax(-1), k.detach() > 1)) * t).sum()

    return model, loss


@KINDS.of("exp", "sigmoid", "softplus", "square")
def function_of_an_element(name):
    model, x, t = halves()
    functions = {
        "exp": lambda h: (8 * h).exp(),
        "sigmoid": lambda h: (20 * h - 6).sigmoid(),
        "softplus": lambda h: F.softplus(20 * h),
        "square": torch.square,
    }

    def loss():
        h, k = model(x).chunk(2, -1)
        return (F.normalize(functions[name](h) * (k.detach() > 1), dim=-1) * t).sum()

    return model, loss


@KINDS.of("softmax", "sigmoid")
def router(name):
    """Experts are chosen by scores with a bias, so that their own may be small."""
    model, x, t = halves(16)
    model.weight.data *= 8
    bias = 3 * torch.randn(16)

    def loss():
        p = model(x).softmax(-1) if name == "softmax" else model(x).sigmoid()
        w = p.gather(1, (p + bias).topk(4, -1).indices)
        return (w / (row_sum(w) + 1e-20) * t[:, :4]).sum()

    return model, loss


@KINDS
def two_weights_of_chosen_groups():
    model, x, t = halves(16)
    model.weight.data *= 6
    groups = torch.rand(ROWS, 4)
    kept = (groups > groups.median(1, keepdim=True).values).repeat_interleave(4, 1)

    def loss():
        w, _ = (model(x).softmax(-1) * kept).topk(2, -1)
        return (w / (row_sum(w) + 1e-20) * t[:, :2]).mean()

    return model, loss


@KINDS
def experts_of_chosen_groups():
    """The weights of a token are few, and of many magnitudes from one token to the next."""
    model = nn.ModuleList(nn.Linear(WIDTH, 16 if n == 0 else WIDTH) for n in range(17))
    model[0].weight.data *= 6
    x, t, groups = torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH), torch.rand(ROWS, 4)
    kept = (groups > groups.median(1, keepdim=True).values).repeat_interleave(4, 1)

    def loss():
        w, chosen = (model[0](x).softmax(-1) * kept).topk(2, -1)
        w, h = w / (row_sum(w) + 1e-20), torch.zeros_like(x)
        for expert in range(16):
            row, place = (chosen == expert).nonzero(as_tuple=True)
            h = h.index_add(0, row, model[expert + 1](x[row]) * w[row, place, None])
        return (h * t).mean()

    return model, loss


@KINDS
def weights_dropped_before_they_are_divided():
    model, x, t = halves(WIDTH)
    model.weight.data *= 6

    def loss():
        p = F.dropout(model(x).softmax(-1), 0.5)
        return (p / (row_sum(p) + 1e-9) * t).sum()

    return model, loss


PARTS = {
    "lower": lambda p: p.tril(),
    "slice": lambda p: p[:, 1:],
    "chunk": lambda p: p.chunk(2, -1)[1],
    "features": lambda p: F.dropout1d(p[:, :, None], 0.5)[..., 0],
    "random": lambda p: p * torch.rand(ROWS, WIDTH).bernoulli(),
    "rectified": lambda p: F.relu(p - 0.5 * p.amax(-1, keepdim=True).detach()),
}


@KINDS.of(*PARTS)
def part_of_a_softmax(name):
    model, x, t = halves(WIDTH)
    model.weight.data *= 6

    def loss():
        p = PARTS[name](model(x).softmax(-1))
        return (p / (row_sum(p) + 1e-9) * t[:, : p.shape[1]]).sum()

    return model, loss


@KINDS
def attention_masked_after_its_softmax():
    model, x, t = halves(3 * WIDTH)
    model.weight.data *= 2
    allowed = torch.ones(WIDTH, WIDTH).tril()

    def loss():
        q, k, v = model(x).view(-1, WIDTH, 3 * WIDTH).chunk(3, -1)
        p = (q @ k.transpose(1, 2) / 8).softmax(-1) * allowed
        return (p / (row_sum(p) + 1e-9) @ v * t.view(v.shape)).mean()

    return model, loss


@KINDS.of(*((f, n) for f in ("exp", "sigmoid", "square", "gelu") for n in ("rms", "normalize", "root", "layer")))
def quiet_row_of_few_columns(name, norm):
    """It shares the step of a code with loud ones."""
    model, x, _ = halves(8)
    model.bias.data.zero_()
    quiet = torch.where(torch.rand(ROWS, 1) < 0.3, 1e-4, 1.0)
    t = torch.randn(ROWS, 8)
    norms = {
        "rms": lambda h: F.rms_norm(h, (8,), eps=1e-20),
        "normalize": lambda h: F.normalize(h, dim=-1),
        "root": lambda h: h / (h.pow(2).mean(-1, keepdim=True) + 1e-20).sqrt(),
        "layer": lambda h: F.layer_norm(h, (8,), eps=1e-20),
    }

    def loss():
        h = model(x)
        if name in ("exp", "sigmoid"):
            h = getattr(torch, name)(h + quiet.log())
        else:
            h = (h * quiet).square() if name == "square" else F.gelu(h * quiet)
        return (norms[norm](h) * t).sum()

    return model, loss


@KINDS.of("8 8", "8 64 8", "8 64 64")
def few_columns_some_layers_before_a_norm(widths):
    widths = [int(each) for each in widths.split()]
    model = nn.ModuleList(nn.Linear(*each, bias=False) for each in pairwise([WIDTH, *widths, 64]))
    x, t = torch.randn(ROWS, WIDTH), torch.randn(ROWS, 64)
    quiet = torch.where(torch.rand(ROWS, 1) < 0.1, 1e-4, 1.0)

    def loss():
        h = model[0](x) * quiet
        for layer in model[1:]:
            h = layer(h)
        return (F.layer_norm(h, (64,), eps=1e-20) * t).sum()

    return model, loss


@KINDS.of("layer", "scores")
def few_columns_whose_rows_are_quiet(name):
    """They are multiplied by a matrix before a norm, which makes all rows count alike."""
    model = nn.ModuleList(nn.Linear(WIDTH, 8, bias=False) for _ in range(3))
    last, x, t = nn.Linear(8, 8, bias=False), torch.randn(ROWS, WIDTH), torch.randn(ROWS, 8)
    model.append(last)
    quiet = torch.where(torch.rand(ROWS, 1) < 0.1, 1e-4, 1.0)

    def loss():
        h = model[0](x) * quiet
        h = last(h) if name == "layer" else (h.view(-1, 8, 8) @ model[1](x).view(-1, 8, 8).mT).flatten(0, 1)
        return (F.layer_norm(h, (8,), eps=1e-20) * t).sum()

    return model, loss


@KINDS
def channels_gated_before_a_batch_norm():
    model = nn.ModuleList(nn.Conv2d(3, WIDTH, 3, padding=1, bias=False) for _ in range(2))
    x, t = torch.randn(4, 3, 4, 4), torch.randn(4, WIDTH, 4, 4)
    quiet = torch.where(torch.rand(WIDTH) < 0.3, 1e-4, 1.0)[:, None, None]

    def loss():
        gate = torch.sigmoid(model[1](x).mean((2, 3), keepdim=True))
        return (F.batch_norm(model[0](x) * quiet * gate, None, None, training=True, eps=1e-20) * t).sum()

    return model, loss


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    # At 2 bits what was dropped may be noticed a step later.
    KINDS.check(name, (8, 4) if name.startswith("weights") else (8, 4, 2))


def attention(x, t, model):
    q, k, v = model(x).chunk(3, -1)
    e = torch.exp(q @ k.T / 8)
    return ((e / row_sum(e)) @ v * t).mean()


def gated_norm(x, t, model):
    h, gate, _ = model(x).chunk(3, -1)
    h = h * F.silu(gate)
    return (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * t).mean()


def routed(x, t, model):
    w, _ = model(x)[:, :32].softmax(-1).topk(4, -1)
    return (w / row_sum(w) * t[:, :4]).mean()


def overlap(x, t, model):
    p = model(x).sigmoid()[:, :WIDTH]
    y = (t > 1).float()
    return 1 - ((2 * (p * y).sum(0) + 1) / (p.sum(0) + y.sum(0) + 1)).mean()


def narrow(x, t, model):
    h = torch.tanh(model(x)[:, :16])
    return (F.layer_norm(h @ model.weight[:16, :32] + 0.1, (32,)) * t[:, :32]).mean()


@pytest.mark.parametrize("loss", [attention, gated_norm, routed, overlap, narrow])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_ordinary_divisions_keep_their_codes(loss, bits):
    torch.manual_seed(0)
    model, x, t = halves(3 * WIDTH)
    c = compressor(model, bits)
    for _ in range(2):
        network_gradient(model, lambda: loss(x, t, model))(c)
    assert "steep" not in str(c.report())


def test_what_becomes_small_later_is_exact_in_the_step_after():
    model, x, t = halves()
    shift = torch.zeros(())

    def loss():
        h, k = model(x).chunk(2, -1)
        p = (8 * h).softmax(-1) * (k.detach() > shift)
        return (p / (row_sum(p) + 1e-9) * t).sum()

    torch.manual_seed(0)
    gradient = network_gradient(model, loss)
    c = compressor(model, 8)
    shift.fill_(-9)
    for _ in range(4):
        gradient(c)
    assert "steep" not in str(c.report())
    shift.fill_(1)
    gradient(c)
    assert off(gradient(c), gradient(torch.enable_grad())) < 1e-3

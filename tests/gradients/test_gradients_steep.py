"""Steep functions a few ops behind what multiplies the gradient by its own result or by another factor."""

import gc
import warnings

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds
from measure import compressor, network_gradient, off
from torch import nn

import gact

KINDS = Kinds()
ROWS = torch.arange(128)


def sharp(outputs=64, size=4.0):
    """A layer of large outputs, its input, and a class for each row."""
    layer, x = nn.Linear(32, outputs), torch.randn(128, 32)
    layer.weight.data *= size
    return layer, x, torch.randint(0, outputs, (128,))


@KINDS.of("index", "gather", "select", "clamp", "sum", "written out", "square root", "binary")
def probability(way):
    model, x, y = sharp()
    ways = {
        "index": lambda p: p[ROWS, y],
        "gather": lambda p: p.gather(1, y[:, None]).squeeze(1) + 1e-8,
        "select": lambda p: p[:, 3],
        "clamp": lambda p: p.clamp(min=1e-8),
        "sum": lambda p: p[:, :3].sum(-1),
        "square root": lambda p: (p * torch.linspace(0.1, 1, 64)).sqrt().sum(1),
    }

    def loss():
        logits = model(x)
        if way == "written out":
            e = torch.exp(logits / 2)
            return -torch.log((e / e.sum(-1, keepdim=True))[ROWS, y]).mean()
        p = logits.softmax(-1)
        if way == "binary":
            return F.binary_cross_entropy(p[:, :20], F.one_hot(y, 64)[:, :20].float())
        return -torch.log(ways[way](p)).mean()

    return model, loss


@KINDS.of("focal", "discriminator", "ranking")
def of_a_sigmoid(name):
    model, x, _ = sharp()
    t = torch.rand(128, 64) < 0.5

    def loss():
        p = torch.sigmoid(model(x))
        if name == "discriminator":
            return torch.log(1 - p + 1e-8).mean()
        if name == "ranking":
            return -torch.log(p[:, :32] + 1e-10).mean()
        chosen = torch.where(t, p, 1 - p)
        return -((1 - chosen) ** 2 * torch.log(chosen + 1e-8)).mean()

    return model, loss


@KINDS.of("by hand", "softmaxes", "bins")
def mixture(name):
    model, x, y = sharp(128, 3.0 if name == "softmaxes" else 1.5)
    t = torch.randn(128, 1)

    def loss():
        first, second, third, _ = model(x).chunk(4, -1)
        if name == "softmaxes":
            share = torch.sigmoid(third)
            p = share * first.softmax(-1) + (1 - share) * second.softmax(-1)
            return F.nll_loss(torch.log(p + 1e-12), y % 32)
        scale = third.exp()
        if name == "bins":
            above, below = (torch.sigmoid((t - second + side) / scale) for side in (0.1, -0.1))
            return -torch.log((above - below).clamp(min=1e-12)).mean()
        density = torch.exp(-0.5 * ((t - second) / scale) ** 2) / scale
        return -torch.log((first.softmax(-1) * density).sum(-1) + 1e-12).mean()

    return model, loss


@KINDS
def squashed_normal():
    model, x, _ = sharp(64, 2.0)
    noise = torch.randn(128, 32)

    def loss():
        mean, logarithm = model(x).chunk(2, -1)
        action = torch.tanh(mean + logarithm.clamp(-5, 2).exp() * noise)
        return -torch.log(1 - action.pow(2) + 1e-6).sum(-1).mean()

    return model, loss


@KINDS.of("contrast", "divergence", "poisson")
def exponential(name):
    model, x, y = sharp(64, 1.0 if name == "contrast" else 3.0)
    t = torch.randn(128, 64).softmax(1)

    def loss():
        h = model(x)
        if name == "contrast":
            h = F.normalize(h, dim=1)
            alike = torch.exp(h @ h.T / 0.1)
            positive = alike[ROWS, ROWS.roll(1)]
            return -torch.log(positive / (alike.sum(1) - alike.diagonal())).mean()
        if name == "divergence":
            return (t * torch.log(t / (h.softmax(1) + 1e-8))).sum(1).mean()
        rate = h.exp()
        return (rate - y[:, None] % 4 * torch.log(rate + 1e-8)).mean()

    return model, loss


@KINDS
def jensen_shannon():
    model, x, _ = sharp(128, 6.0)

    def loss():
        p, q = (each.softmax(-1) for each in model(x).chunk(2, -1))
        m = (p + q) / 2
        return sum((each * (each.clamp_min(1e-9) / m).log()).sum(-1).mean() for each in (p, q))

    return model, loss


@KINDS.of("exp", "softplus", "square", "sigmoid by hand", "magnitude")
def divided(name):
    model, x, _ = sharp(64, 2.0)
    t = torch.randn(128, 32)
    with torch.no_grad():
        mean, raw = model(x).chunk(2, -1)
        near = mean + t * {"exp": (raw / 2).exp(), "softplus": (F.softplus(2 * raw) + 1e-4).sqrt()}.get(name, 1)

    def loss():
        mean, raw = model(x).chunk(2, -1)
        if name == "square":
            return (1 / (raw**2 + 1e-2)).mean()
        if name == "sigmoid by hand":
            return (t / (1 + torch.exp(-1.5 * raw))).sum(1).square().mean()
        if name == "magnitude":
            return torch.sqrt((mean - t) ** 2 + 1e-6).mean()
        variance = raw.exp() + 1e-6 if name == "exp" else F.softplus(2 * raw) + 1e-4
        return (variance.log() + (near - mean) ** 2 / variance).mean()

    return model, loss


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name)


def test_written_out_attention_and_norms_keep_their_codes():
    """The greatest of a row is part of its sum: such divisors are not steep in small elements."""
    model, x, _ = sharp(96, 1.0)

    def loss():
        q, k, v = model(x).chunk(3, -1)
        e = torch.exp(q @ k.T / 32**0.5)
        h = (e / e.sum(-1, keepdim=True)) @ v
        h = h / torch.sqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
        return (h * torch.sigmoid(h)).square().mean()

    c = compressor(model, 4)
    for _ in range(2):
        network_gradient(model, loss)(c)
    assert "steep" not in str(c.report())


def step(c, model, x, y, between):
    """The gradient of a negative log likelihood by hand, in compression and without, with other ops in between."""

    def loss():
        p = model(x).softmax(-1)
        h = between(x)
        return h.mean() - torch.log(p[ROWS, y]).mean()

    gradient = network_gradient(model, loss)
    return off(gradient(c), gradient(torch.enable_grad()))


def kept_of_softmax(c):
    """Count and bytes of what is held of it."""
    return [(row.count, row.kept_bytes, row.plain_bytes) for row in c.report().rows if row.op == "softmax"]


def many(x):
    """More tensors that may have to be exact than are held on to."""
    h = x.clone().requires_grad_()
    for _ in range(12):
        h = torch.tanh(h)
    return h


def test_values_that_the_network_has_itself_are_found_again():
    model, x, y = sharp()
    c = compressor(model, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert step(c, model, x, y, many) < 1e-3
    first = kept_of_softmax(c)
    assert step(c, model, x, y, many) < 1e-3
    assert first == kept_of_softmax(c)


def test_a_value_that_is_gone_is_told_once_and_exact_in_the_next_step():
    model, x, y = sharp()
    c = compressor(model, 4)

    def loss():
        chosen = model(x).softmax(-1)[ROWS, y]
        return many(x).mean() - torch.log(chosen).mean()

    gradient = network_gradient(model, loss)
    exact = gradient(torch.enable_grad())
    with pytest.warns(gact.GactWarning, match="softmax.*steep"):
        gradient(c)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert off(gradient(c), exact) < 1e-3


def test_values_that_are_found_again_must_not_have_changed():
    model, x, y = sharp()
    with compressor(model, 4):
        p = model(x).softmax(-1)
        h = many(x)
        loss = h.mean() - torch.log(p[ROWS, y]).mean()
        with torch.no_grad():
            p.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_nothing_is_held_on_to_after_the_step():
    model, x, _ = sharp()
    c = compressor(model, 4)
    with c:
        loss = -torch.log(model(x).softmax(-1)[:, 3]).mean() + torch.tanh(model(x)).mean()
        loss.backward()
        del loss
        gc.collect()
        alive = [each for each in gc.get_objects() if type(each) is torch.Tensor and each.shape == (128, 64)]
        assert not alive


def test_a_first_step_holds_on_to_little():
    shape = (512, 1023)

    def alive():
        gc.collect()
        return {each.data_ptr() for each in gc.get_objects() if type(each) is torch.Tensor and each.shape == shape}

    c = gact.Compressor(bits=1, min_bytes=0, group_size=64)
    h = torch.randn(shape, requires_grad=True)
    before, most = alive(), 0
    with c:
        for _ in range(10):
            h = torch.sigmoid(h)
            most = max(most, len(alive() - before))
    assert most <= 1

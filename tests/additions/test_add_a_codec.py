"""A code of values: neighbours are turned by 45 degrees before they are quantized, which spreads what stands out."""

import torch

import gact
from gact.codecs import CODECS


class Turned:
    name, rounding, parts, nbytes, line = "turned", "dithered", (), 0, None

    def lines(self):
        return []

    def values(self, dtype):
        return dtype

    def forward(self, flat):
        return lambda start, out: out.copy_(turned(flat[start : start + out.numel()]))

    def inverse(self):
        return lambda start, values: values.copy_(turned(values))


def turned(elements):
    left, right = elements.view(-1, 2).unbind(1)
    return torch.stack((left + right, left - right), 1).flatten() / 2**0.5


def test_it_holds_what_a_layer_saves(monkeypatch):
    monkeypatch.setattr("gact.codecs.registry.CODECS", dict(CODECS))
    unused = [Turned()]
    gact.register_codec("turned", lambda region, group_size: unused.pop())
    x = torch.randn(64, 64, requires_grad=True)
    with gact.Compressor(bits=4, adaptive=False, min_bytes=0) as compressor:
        product = (x * 1.0) @ torch.randn(64, 8, requires_grad=True)
    assert not unused
    assert compressor.report().ratio > 4
    assert 0 < (product.grad_fn._saved_self - x).norm() < 0.2 * x.norm()

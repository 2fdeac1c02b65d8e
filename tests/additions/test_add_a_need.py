"""An op's need: backward of a custom Function reads its input's values, so the input may be coded."""

import torch

import gact


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


def kept():
    x = torch.randn(64, 64, requires_grad=True)
    with gact.Compressor(bits=8, adaptive=False, min_bytes=0) as compressor:
        Cube.apply(x * 1.0).relu().sum().backward()
    return [row.codec for row in compressor.report().rows if row.op == "Cube"]


def test_it_is_coded_once_somebody_says_what_is_read():
    assert kept() == ["keep"]
    gact.register_need(Cube, "wide")
    assert kept() == ["groups"]

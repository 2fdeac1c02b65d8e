"""A rebuild rule: the result of a custom Function is made again of its input, which is held anyway."""

import torch

import gact


class Shrunk(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x / (1 + x.abs())

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient / (1 + x.abs()) ** 2


def codecs_of_the_layer(shrunk):
    x, weight = torch.randn(64, 64, requires_grad=True), torch.randn(64, 8, requires_grad=True)
    with gact.Compressor(bits=8, adaptive=False, min_bytes=0) as compressor:
        (shrunk(x * 1.0) @ weight).sum().backward()
    return [row.codec for row in compressor.report().rows if row.op == "matmul" and row.plain_bytes == x.nbytes]


def test_its_result_is_held_no_more():
    gact.register_need(Shrunk, "wide")
    assert codecs_of_the_layer(Shrunk.apply) == ["groups"]
    assert codecs_of_the_layer(gact.register_rebuild(Shrunk)) == ["derived"]

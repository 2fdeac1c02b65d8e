"""What is exact because nothing tells about its node stands in the report, with its bytes and what to write."""

import json

import torch

import gact


class Tripled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.where(x > 0, 3.0, 3.0)


def report(compressor):
    weight = torch.randn(64, 64, requires_grad=True)
    with compressor:
        _loss = Tripled.apply(torch.randn(64, 64) @ weight).sum()
    return compressor.report()


def test_the_bytes_and_the_cure_are_named_by_class():
    found = report(gact.Compressor(min_bytes=1024))
    assert found.unlisted == {"TripledBackward": 64 * 64 * 4}
    assert json.loads(found.to_json())["unlisted"] == found.unlisted
    assert "0.02 MiB are exact because nothing tells what TripledBackward reads" in str(found)
    assert 'gact.register_need("TripledBackward", "value")' in str(found)
    (row,) = [row for row in found.rows if row.reason]
    assert (row.op, row.reason) == ("Tripled", "TripledBackward is not listed")


def test_a_rule_or_a_registered_need_sets_a_width():
    found = report(gact.Compressor(min_bytes=1024, rules=[gact.Rule(op="Tripled", bits=4)]))
    assert found.unlisted == {}
    gact.register_need("TripledBackward", "value")
    try:
        found = report(gact.Compressor(bits=3, min_bytes=1024, adaptive=False))
    finally:
        gact.register_need("TripledBackward", "exact")
    assert [row.bits for row in found.rows if row.op == "Tripled"] == [3]
    assert "register_need" not in str(found)

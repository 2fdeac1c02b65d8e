"""The report of compiled code says what plain compiled code saves, whatever is held in place of that."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gact


def _sums(model, x):
    scores = model(x).reshape(-1, 4, 32)
    total = scores[:, 0]
    for place in range(1, 4):
        total = torch.logsumexp(total[:, :, None] + model.weight[None], 1) + scores[:, place]
    return total.logsumexp(-1).mean()


def _repeated(model, x):
    repeated = model(x)[:, None, :].expand(-1, 4, -1)
    return (repeated * model(x + 1)[:, None].expand(-1, 4, -1).sin()).sum()


def _parts(model, x):
    hidden = model(x)
    first, second = hidden[:, :16], hidden[:, 16:]
    return (first.exp() * second.sigmoid()).sum() + (hidden[::2] * hidden[1::2]).sum()


def _blocks(model, x):
    for _ in range(3):
        x = torch.utils.checkpoint.checkpoint(lambda x: x + nn.functional.gelu(model(x)), x, use_reentrant=False)
    return x.square().mean()


@pytest.mark.parametrize(
    ("function", "dynamic"), [(_sums, False), (_repeated, True), (_parts, False), (_blocks, False)]
)
def test_plain_bytes_are_those_of_plain_compiled_code(function, dynamic):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, x = nn.Linear(32, 32), torch.randn(512, 32)
    parameters = {each.untyped_storage().data_ptr() for each in model.parameters()}
    run = torch.compile(lambda x: function(model, x), backend="aot_eager", dynamic=dynamic)
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(x)
    compressor = gact.Compressor(model, bits=4, adaptive=False, min_bytes=0)
    with compressor:
        loss = run(x)
    loss.backward()
    plain = sum(each.untyped_storage().nbytes() for place, each in saved.items() if place not in parameters)
    assert compressor.report().plain_bytes == plain

"""Readers of one region in one backward pass get one tensor, if that is safe and costs no memory worth the name."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

import gact
from gact.codecs.groups import Groups
from gact.remat.attended import Attended
from gact.saved import sharing


class Readers(nn.Module):
    """Three layers that read one tensor, after others whose codes make it small beside all that is held."""

    def __init__(self, before=6):
        super().__init__()
        self.before = nn.ModuleList(nn.Linear(64, 64) for _ in range(before))
        self.readers = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))

    def forward(self, x):
        for layer in self.before:
            x = torch.sin(layer(x))
        return [layer(x).sum() for layer in self.readers]


@pytest.fixture
def decoded(monkeypatch):
    """The storages that were decoded, in order."""
    storages = []
    decode = Groups.decode

    def noted(self, size, stride):
        out = decode(self, size, stride)
        storages.append(StorageWeakRef(out.untyped_storage()))
        return out

    monkeypatch.setattr(Groups, "decode", noted)
    return storages


def compressor():
    return gact.Compressor(min_bytes=0, bits=8, derive=False, adaptive=False)


def losses(model):
    torch.manual_seed(0)
    with compressor():
        return model(torch.randn(256, 64))


def gradients(model, value, **how):
    return torch.autograd.grad(value, [layer.weight for layer in model.readers], allow_unused=True, **how)


def equal(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def test_readers_in_a_row_decode_once(decoded, monkeypatch):
    model = Readers()
    shared = gradients(model, sum(losses(model)))
    once = len(decoded)
    decoded.clear()
    monkeypatch.setattr(sharing, "_SHARE", 10**9)
    alone = gradients(model, sum(losses(model)))
    assert once == len(decoded) - 2
    assert equal(shared, alone)


LAYERS = 4


class Attention(nn.Module):
    """Layers of attention whose outputs the next layer reads in another shape than the kernel gave them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 192) for _ in range(LAYERS))
        self.outs = nn.ModuleList(nn.Linear(64, 64) for _ in range(LAYERS))

    def forward(self, x):
        for layer, out in zip(self.layers, self.outs, strict=True):
            query, key, value = layer(x).view(8, 32, 3, 4, 16).permute(2, 0, 3, 1, 4)
            made = nn.functional.scaled_dot_product_attention(query, key, value)
            x = x + out(made.transpose(1, 2).reshape(8, 32, 64))
        return x.square().mean()


def test_views_of_one_attention_share_it(monkeypatch):
    """The layer behind attention reads its output in rows, attention itself in heads."""
    made = []
    decode = Attended.decode
    monkeypatch.setattr(Attended, "decode", lambda self, layout: made.append(self) or decode(self, layout))
    torch.manual_seed(0)
    model, x = Attention(), torch.randn(8, 32, 64)

    def gradients():
        with gact.Compressor(min_bytes=0, bits=4, adaptive=False, seed=1):
            loss = model(x)
        return torch.autograd.grad(loss, list(model.parameters()))

    shared = gradients()
    assert len(made) == LAYERS
    monkeypatch.setattr(sharing, "_SHARE", 10**9)
    alone = gradients()
    assert len(made) == 3 * LAYERS
    assert equal(shared, alone)


def test_what_was_shared_goes_with_its_last_reader(decoded):
    model = Readers()
    value = sum(losses(model))
    first = gradients(model, value, retain_graph=True)
    assert decoded
    assert all(storage.expired() for storage in decoded)
    assert equal(first, gradients(model, value))


def test_a_reader_that_never_comes_holds_one_tensor_until_the_graph_goes(decoded):
    model = Readers()
    one, *others = losses(model)
    grad, *unused = gradients(model, one, retain_graph=True)
    assert unused == [None, None]
    assert sum(not storage.expired() for storage in decoded) == 1
    both = gradients(model, sum(others))[1:]
    assert equal((grad, *both), gradients(model, sum(losses(model))))
    del one, others
    assert all(storage.expired() for storage in decoded)


def test_a_tensor_that_is_large_beside_the_codes_is_not_held(decoded):
    model = Readers(before=1)
    gradients(model, sum(losses(model)))
    assert len(decoded) == 3


class Scribbler(torch.autograd.Function):
    """The identity, whose backward may overwrite what it has saved."""

    @staticmethod
    def forward(ctx, x, writes):
        ctx.save_for_backward(x)
        ctx.writes = writes
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        if ctx.writes:
            x.zero_()
        return grad, None


gact.register_need(Scribbler, "value")


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_custom_function_may_write_to_what_it_gets(place):
    model = Readers()

    def run(writes):
        torch.manual_seed(0)
        with compressor():
            x = torch.randn(256, 64)
            for layer in model.before:
                x = torch.sin(layer(x))
            calls = [lambda layer=layer: layer(x).sum() for layer in model.readers]
            calls.insert(place, lambda: Scribbler.apply(x, writes).sum())
            value = sum(call() for call in calls)
        return gradients(model, value)

    assert equal(run(writes=True), run(writes=False))


def test_who_looks_outside_of_backward_gets_a_tensor_of_its_own():
    model = Readers()
    parts = losses(model)
    expected = gradients(model, sum(parts), retain_graph=True)
    parts = losses(model)
    for part in parts:
        part.grad_fn.next_functions[0][0]._saved_mat1.zero_()
    assert equal(gradients(model, sum(parts)), expected)


def test_readers_of_other_layouts_get_their_own(monkeypatch):
    weights = [torch.randn(64, 64, requires_grad=True) for _ in range(10)]

    def run():
        torch.manual_seed(0)
        with compressor():
            y = torch.randn(64, 64)
            for weight in weights[:6]:
                y = torch.sin(y @ weight)
            parts = y @ weights[6] + y.t() @ weights[7] + y[:32].repeat(2, 1) @ weights[8] + y @ weights[9]
        return torch.autograd.grad(parts.square().sum(), weights)

    shared = run()
    monkeypatch.setattr(sharing, "_SHARE", 10**9)
    assert equal(shared, run())


def test_backward_passes_in_threads_do_not_mix():
    model = Readers()
    value = sum(losses(model))
    expected = gradients(model, value, retain_graph=True)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: gradients(model, value, retain_graph=True), range(16)))
    assert all(equal(each, expected) for each in found)


def test_a_measured_step_shares_nothing():
    model = Readers(before=16)
    c = gact.Compressor(model, min_bytes=0, derive=False)
    measured = 0
    for _ in range(6):
        with c:
            value = sum(model(torch.randn(256, 64)))
        step = c._steps.current()
        torch.autograd.grad(value, [model.readers[0].weight], retain_graph=True)
        assert (step.sharing._waiting is None) == c._steps.is_measured()
        measured += c._steps.is_measured()
        c.backward(value)
    assert 0 < measured < 6

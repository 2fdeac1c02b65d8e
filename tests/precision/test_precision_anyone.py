"""Sensitivities are measured whoever begins the backward pass, and nothing stays in anybody's way."""

import gc
import threading
import warnings
from unittest import mock

import pytest
import torch
from torch import nn
from torch.autograd.graph import get_gradient_edge
from torch.utils.checkpoint import checkpoint

import gact
from training import compressor, gradient, passes, square, uniform, widths

TORCHS = torch.autograd._engine_run_backward


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 8))


def data(count=4):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(64, 32, generator=generator) for _ in range(count)]


def by_gradient(loss):
    """The step's gradients by ``torch.autograd.grad``, put where backward would put them."""
    leaves = list(by_gradient.model.parameters())
    for leaf, each in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
        leaf.grad = each


def by_scaler(loss):
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    scaler.scale(loss).backward()


def by_thread(loss):
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()


BEGINS = {
    "Tensor.backward": lambda loss: loss.backward(),
    "with a gradient": lambda loss: loss.backward(torch.ones(())),
    "retained": lambda loss: loss.backward(retain_graph=True),
    "torch.autograd.backward": torch.autograd.backward,
    "two roots": lambda loss: torch.autograd.backward([loss * 0.5, loss], [None, torch.tensor(0.5)]),
    "an edge": lambda loss: torch.autograd.backward(get_gradient_edge(loss), torch.ones(())),
    "torch.autograd.grad": by_gradient,
    "GradScaler": by_scaler,
    "another thread": by_thread,
}


def train(begin, *, around=False, **options):
    """Four steps; what was measured, the widths, the last gradient and the kept bytes."""
    model = by_gradient.model = network()
    c = compressor(model, **options)
    outer = c if around else torch.enable_grad()
    with outer:
        for x in data():
            model.zero_grad()
            with c if not around else torch.enable_grad():
                loss = square(model, x)
            begin(loss)
            del loss
    assert torch.autograd._engine_run_backward is TORCHS
    return passes(c), widths(c), gradient(model), c.report().kept_bytes


@pytest.mark.parametrize("around", [False, True], ids=["a context a step", "one context"])
@pytest.mark.parametrize("begin", BEGINS.values(), ids=BEGINS)
def test_all_ways_measure_alike(begin, around):
    if begin is by_gradient and around:
        pytest.skip("torch.autograd.grad inside a context is a pass of forward's own")
    expected = train(BEGINS["Tensor.backward"])
    found = train(begin, around=around)
    assert found[0] == expected[0] > 1
    assert found[1] == expected[1]
    assert len(set(found[1].values())) > 1
    assert torch.allclose(found[2], expected[2], rtol=1e-5, atol=1e-7)


def test_the_method_of_the_compressor_is_the_same():
    model = network()
    c = compressor(model)
    for x in data():
        model.zero_grad()
        with c:
            loss = square(model, x)
        c.backward(loss)
    expected = train(BEGINS["Tensor.backward"])
    assert (passes(c), widths(c)) == expected[:2]
    assert torch.equal(gradient(model), expected[2])


def test_a_measured_step_has_the_gradient_of_its_codes():
    model = network()
    c, plain = compressor(model), uniform(network())
    for number, x in enumerate(data(2)):
        model.zero_grad()
        with c:
            loss = square(model, x)
        loss.backward()
        del loss
        plain._model.zero_grad()
        with plain:
            plain_loss = square(plain._model, x)
        plain_loss.backward()
        del plain_loss
        assert (passes(c) > 0) == (number == 1)
    assert torch.equal(gradient(model), gradient(plain._model))


def measured_step(c, model, x):
    """The loss of a step in which a measurement is due."""
    with c:
        loss = square(model, x)
    loss.backward()
    del loss
    with c:
        loss = square(model, x)
    assert torch.autograd._engine_run_backward is not TORCHS
    return loss


def test_graphs_of_others_are_not_touched():
    model, other = network(), network()
    c, calls = compressor(model), []
    other[0].weight.register_hook(lambda _: calls.append(gact.is_measuring()))
    loss = measured_step(c, model, data()[0])
    square(other, data()[0]).backward()
    by_thread(square(other, data()[0]))
    assert calls == [False, False]
    assert passes(c) == 0
    loss.backward()
    assert passes(c) > 1
    assert calls == [False, False]


def test_two_compressors_measure_their_own():
    models = network(), network()
    both = [compressor(model) for model in models]
    losses = [measured_step(c, model, data()[0]) for c, model in zip(both, models, strict=True)]
    losses[1].backward()
    assert passes(both[0]) == 0 < passes(both[1])
    losses[0].backward()
    assert passes(both[0]) == passes(both[1])


def test_a_pass_to_be_differentiated_is_not_measured_and_the_next_is():
    model, (x, *_) = network(), data()
    c = compressor(model)
    loss = measured_step(c, model, x)
    loss.backward(create_graph=True)
    assert passes(c) == 0
    for parameter in model.parameters():
        parameter.grad = None
    del loss
    for _ in range(2):
        with c:
            loss = square(model, x)
        loss.backward()
    assert passes(c) > 1


def test_losses_of_one_step_are_all_measured():
    model = nn.ModuleList([network(), network()])
    c = compressor(model)
    for x in data(2):
        with c:
            losses = [square(each, x) for each in model]
        for loss in losses:
            loss.backward()
        del loss, losses
    assert {site.split(".")[0] for site in widths(c)} >= {"0", "1"}


class Nested(torch.autograd.Function):
    """Runs a backward pass of its own in backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            again = x.detach().requires_grad_()
            again.sin().sum().backward()
        return gradient * again.grad


def test_a_pass_inside_of_a_pass_goes_its_own_way():
    gact.register_need(Nested, "value")
    model = nn.Sequential(nn.Linear(32, 64), nn.Linear(64, 8))
    c = compressor(model)
    for x in data(3):
        model.zero_grad()
        with c:
            loss = model[1](Nested.apply(model[0](x))).square().mean()
        loss.backward()
        del loss
    assert passes(c) > 1
    assert not c.report().unmeasured


def test_a_reentrant_checkpoint_says_why_it_is_not_measured():
    model, (x, *_) = network(), data()
    c = compressor(model)

    def step():
        with c:
            loss = checkpoint(model, x.requires_grad_(), use_reentrant=True).square().mean()
        loss.backward()

    step()
    with pytest.warns(gact.GactWarning, match="could not measure.*use_reentrant=False"):
        step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step()
    assert "use_reentrant=False" in c.report().unmeasured
    assert torch.autograd._engine_run_backward is TORCHS


def test_a_pass_begun_past_torch_is_told_of_in_the_next_step():
    model, (x, *_) = network(), data()
    c = compressor(model, ratio=5.0)
    loss = measured_step(c, model, x)
    engine = torch.autograd.Variable._execution_engine
    engine.run_backward((loss,), (torch.ones(()),), False, False, (), allow_unreachable=True, accumulate_grad=True)
    del loss
    with pytest.warns(gact.GactWarning, match=r"ratio=5 is not held to: its backward pass was begun neither by"), c:
        square(model, x)
    assert passes(c) == 0


class BadError(Exception):
    pass


def test_an_exception_in_backward_leaves_nothing():
    model, (x, *_) = network(), data()
    c = compressor(model)
    loss = measured_step(c, model, x)

    def fail(_):
        if not gact.is_measuring():
            raise BadError

    handle = model[0].weight.register_hook(fail)
    with pytest.raises(BadError):
        loss.backward()
    handle.remove()
    assert passes(c) > 1
    del loss
    gc.collect()
    for _ in range(2):
        with c:
            loss = square(model, x)
        loss.backward()
        del loss
    assert torch.autograd._engine_run_backward is TORCHS


def test_a_graph_that_is_dropped_leaves_nothing():
    model, (x, *_) = network(), data()
    c = compressor(model)
    loss = measured_step(c, model, x)
    del loss
    assert torch.autograd._engine_run_backward is TORCHS


def test_what_others_put_on_top_stays_and_sees_every_pass():
    model, (x, *_) = network(), data()
    c, seen = compressor(model), []
    loss = measured_step(c, model, x)
    beneath = torch.autograd._engine_run_backward

    def theirs(*args, **kwargs):
        seen.append(len(args))
        return beneath(*args, **kwargs)

    with mock.patch.object(torch.autograd, "_engine_run_backward", theirs):
        loss.backward()
        del loss
        assert torch.autograd._engine_run_backward is theirs
        for _ in range(20):  # with ours beneath theirs, nothing grows
            c.measure_next()
            with c:
                loss = square(model, x)
            loss.backward()
            del loss
            assert torch.autograd._engine_run_backward is theirs or seen
    torch.autograd._engine_run_backward = TORCHS
    assert passes(c) > 1


def test_a_patched_tensor_backward_is_still_called():
    model, (x, *_) = network(), data()
    c, seen, real = compressor(model), [], torch.Tensor.backward

    def patched(self, *args, **kwargs):
        seen.append(1)
        return real(self, *args, **kwargs)

    with mock.patch.object(torch.Tensor, "backward", patched):
        measured_step(c, model, x).backward()
    assert len(seen) == 2
    assert passes(c) > 1

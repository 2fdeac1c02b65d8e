"""Effects of forward and of hooks in steps that are measured: as often as in plain training, and only they."""

import random
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint

import gact
from gact.precision.repeatable import hook_may_repeat
from training import Checkpointed, clone, compressor, gradient, passes, square, step, uniform

HALF = 0.5
SEEN = []


class Busy(nn.Module):
    """Counts in every way that Python has, and normalises by a power iteration."""

    tally = 0

    def __init__(self):
        super().__init__()
        self.linear = spectral_norm(nn.Linear(64, 64))
        self.norm = nn.BatchNorm1d(64, momentum=None)
        self.calls, self.history = 0, []
        self.running = torch.zeros(())
        self.drawn = 0.0

    def forward(self, x):
        self.calls += 1
        self.history.append(self.calls)
        self.running += 1
        self.drawn = random.random()
        SEEN.append(self.calls)
        return self.norm(self.linear(x)).tanh()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(32, 64), nn.Linear(64, 8)
        self.body = nn.ModuleList([Busy(), Busy()])

    def forward(self, x):
        x = self.first(x).tanh()
        for block in self.body:
            x = checkpoint(lambda y, block=block: block(y), x, use_reentrant=False)
        return self.last(x)


def counted(model):
    busy = [(each.calls, each.history, float(each.running), int(each.norm.num_batches_tracked)) for each in model.body]
    return busy, model.body[0].drawn


def buffers(model):
    return torch.cat([buffer.flatten() for buffer in model.buffers()])


@pytest.mark.parametrize("given", [True, False])
def test_blocks_that_run_again_count_as_without(given):
    torch.manual_seed(0)
    model, x, fired = Net(), torch.randn(64, 32), []
    twin = clone(model)
    results = []
    for net, c in ((twin, uniform(twin)), (model, compressor(model if given else None))):
        SEEN.clear()
        fired.clear()
        random.seed(0)
        net.body[0].linear.register_forward_hook(lambda *_: fired.append(1) and None)
        for _ in range(3):
            net.zero_grad()
            step(c, net, x)
        results.append((counted(net), len(SEEN), len(fired), gradient(net), buffers(net)))
    assert passes(c) > 1
    expected, seen = results
    assert seen[0] == expected[0]
    assert seen[1:3] == expected[1:3] == (12, 6)
    for one, other in zip(seen[3:], expected[3:], strict=True):
        assert float((one - other).norm() / other.norm()) < 0.1  # blocks run again on inputs of other widths


def test_batches_are_counted_where_no_model_was_given():
    model, x = Checkpointed(), torch.randn(16, 32)
    twin = clone(model)
    for net, c in ((twin, uniform(twin)), (model, compressor(None))):
        for _ in range(2):
            step(c, net, x)
    assert passes(c) > 1
    assert int(model.body[1].num_batches_tracked) == int(twin.body[1].num_batches_tracked) == 4
    assert torch.allclose(model.body[1].running_mean, twin.body[1].running_mean, atol=0.01)


class Store:
    """Saved-tensor hooks that give each tensor once."""

    def __init__(self):
        self.held, self.gave = {}, 0

    def pack(self, tensor):
        self.held[len(self.held)] = tensor
        return len(self.held) - 1

    def unpack(self, place):
        self.gave += 1
        return self.held.pop(place)


@pytest.mark.skipif(torch.__version__ < "2.13", reason="torch does not tell unpack hooks")
def test_what_other_hooks_unpack_is_given_once():
    def loss(model, x):
        hidden = model[:3](x)
        with torch.autograd.graph.saved_tensors_hooks(store.pack, store.unpack):
            return model[3:](hidden).square().mean()

    model, x, store = plain(), torch.randn(64, 32), Store()
    c = compressor(model)
    with pytest.warns(gact.GactWarning, match="does not see what is saved inside the inner saved-tensor hooks"):
        step(c, model, x, loss)
    for _ in range(2):
        step(c, model, x, loss)
    assert passes(c) > 1
    assert c.report().unmeasured == ""
    assert store.held == {}
    assert store.gave % 3 == 0


def plain():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 8))


def on_leaf(model, hook):
    model[0].weight.register_hook(lambda gradient: hook())


def on_module(model, hook):
    model[2].register_full_backward_hook(lambda *_: hook())


def before_module(model, hook):
    model[2].register_full_backward_pre_hook(lambda *_: hook())


def on_module_partly(model, hook):
    model[2].register_backward_hook(lambda *_: hook())


def on_activation(model, hook):
    model[2].register_forward_hook(lambda module, inputs, output: output.register_hook(lambda _: hook()) and None)


def on_node(model, hook):
    model[1].register_forward_hook(lambda m, inputs, output: output.grad_fn.register_hook(lambda *_: hook()) and None)


def before_node(model, hook):
    model[1].register_forward_hook(
        lambda m, inputs, output: output.grad_fn.register_prehook(lambda *_: hook()) and None
    )


def on_several(model, hook):
    torch.autograd.graph.register_multi_grad_hook(tuple(model.parameters()), lambda _: hook())


REGISTER = (on_leaf, on_module, before_module, on_module_partly, on_activation, on_node, before_node, on_several)


@pytest.mark.parametrize("register", REGISTER, ids=lambda register: register.__name__)
def test_a_hook_that_counts_is_called_once_a_step(register):
    model, x, calls = plain(), torch.randn(64, 32), []
    c = compressor(model)
    register(model, lambda: calls.append(1) and None)
    for _ in range(3):
        step(c, model, x)
    assert passes(c) > 1
    assert len(calls) == 3


def test_a_hook_on_the_loss_that_counts_is_called_once():
    model, x, calls = plain(), torch.randn(64, 32), []
    c = compressor(model)
    for _ in range(3):
        with c:
            loss = square(model, x)
        loss.register_hook(lambda gradient: calls.append(1))
        c.backward(loss)
    assert passes(c) > 1
    assert len(calls) == 3


def test_a_hook_is_the_same_afterwards_and_may_be_removed():
    model, x = plain(), torch.randn(64, 32)
    c = compressor(model)

    def hook(gradient):
        SEEN.append(gradient)

    handle = model[0].weight.register_hook(hook)
    for _ in range(2):
        step(c, model, x)
    assert passes(c) > 1
    assert list(model[0].weight._backward_hooks.values()) == [hook]
    handle.remove()
    assert not model[0].weight._backward_hooks


def stores(gradient):
    SEEN.append(gradient)
    return gradient * 2


def in_place(gradient):
    gradient *= 2


def written(gradient):
    gradient[0] = 0


def asks(gradient):
    return None if gact.is_measuring() else gradient


def answered(gradient):
    return stores(gradient)


def scaled(by):
    return lambda gradient: gradient * by


HARMLESS = {
    "scaled": scaled(3.0),
    "masked": scaled(torch.ones(3)),
    "a global number": lambda gradient: -gradient * HALF,
    "clamped": lambda gradient: torch.clamp(gradient.nan_to_num(), -1.0, 1.0),
    "by its norm": lambda gradient: gradient / max(float(gradient.norm()), 1.0),
    "of a module": lambda module, inputs, outputs: (inputs[0] * 2 if inputs[0] is not None else None,),
    "asks": asks,
}
UNKNOWN = {
    "stores": stores,
    "in place": in_place,
    "by a method": lambda gradient: gradient.mul_(2),
    "written to": written,
    "prints": lambda gradient: print(gradient),
    "calls": answered,
    "appends": SEEN.append,
    "to a tensor": lambda gradient: torch.mul(gradient, 2, out=gradient),
    "with what is unknown": scaled([1]),
    "builtin": print,
}


@pytest.mark.parametrize("hook", HARMLESS.values(), ids=HARMLESS)
def test_hooks_that_only_return_are_known(hook):
    assert hook_may_repeat(hook)


@pytest.mark.parametrize("hook", UNKNOWN.values(), ids=UNKNOWN)
def test_others_are_not(hook):
    assert not hook_may_repeat(hook)


def test_who_answers_for_a_hook_has_it_called():
    def hook(gradient):
        seen.append(1)

    model, x, seen = plain(), torch.randn(64, 32), []
    gact.register_repeatable(hook)
    model[0].weight.register_hook(hook)
    c = compressor(model)
    for _ in range(2):
        step(c, model, x)
    assert len(seen) == 2 + passes(c) > 3


def test_a_measurement_holds_nothing_afterwards():
    model, x = plain(), torch.randn(64, 32)
    c = compressor(model)
    step(c, model, x)
    with c:
        hidden = model[:3](x)
        loss = model[3:](hidden).square().mean()
    hidden.register_hook(lambda gradient: SEEN.append(1))
    c.backward(loss)
    assert passes(c) > 1
    reference = weakref.ref(hidden)
    del hidden, loss
    assert reference() is None


def test_hooks_that_rest_are_in_what_batches_are_compared_by():
    def masks(gradient):
        SEEN.append(1)
        return gradient * (torch.arange(gradient.numel()) % 2).view_as(gradient)

    model, x = plain(), torch.randn(64, 32)
    for parameter in model.parameters():
        parameter.register_hook(masks)
    c = compressor(model, bits=8)
    for _ in range(3):
        step(c, model, x)
    assert passes(c) > 1
    assert c.report().batch_variance < 1e-3  # the batches are the same

"""What is alive and for how long: packed tensors die with their graph, without the garbage collector's help."""

import contextlib
import gc
import sys
import weakref

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules import module as module_hooks

import gact
from cases import NETWORKS
from gact.autograd import storages as module_of_storages
from saved import active_pair, save


@pytest.fixture
def no_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def tensors():
    return [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]


def live_bytes():
    """Bytes of all tensor storages that Python can reach, each once; the tracer's tensors have no memory."""
    plain = [t for t in tensors() if type(t) in (torch.Tensor, nn.Parameter) and t.layout is torch.strided]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in plain}
    return sum(storages.values())


OPS = {
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "softmax": lambda x: x.softmax(-1),
    "tanh in place": lambda x: (x * 1).tanh_(),
    "relu in place": lambda x: torch.relu_(x * 1),
    "norm": lambda x: x.norm(),
    "square of itself": lambda x: x * x,
    "max with indices": lambda x: x.max(0).values,
    "matrix power": lambda x: x @ x @ x,
    "custom": lambda x: save(x, x.t(), x[:2]),
    "view of a result": lambda x: x.sigmoid()[:10],
    "std and mean": lambda x: sum(torch.std_mean(x, 0)),
}


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("least", [0, 2**40], ids=["compressed", "kept"])
@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_an_output_that_is_dropped_is_freed_at_once(op, least, no_gc):
    with gact.Compressor(min_bytes=least):
        x = torch.randn(64, 64, requires_grad=True) * 1.0
        storage = StorageWeakRef(x.untyped_storage())
        output = op(x)
    output, x = weakref.ref(output), None
    assert output() is None
    assert storage.expired()


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("least", [0, 2**40], ids=["compressed", "kept"])
def test_backward_frees_what_was_packed_while_the_output_lives(least, no_gc):
    network, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.GELU()), torch.randn(32, 64)
    network(x).sum().backward()
    c, count, size = gact.Compressor(network, min_bytes=least), len(tensors()), live_bytes()
    with c:
        loss = network(x).sum()
    assert len(tensors()) > count + 1
    loss.backward()
    assert len(tensors()) == count + 1
    assert live_bytes() == size + 4


def test_what_waits_for_its_weights_goes_with_its_graph(no_gc):
    network, x = nn.Linear(64, 64), torch.randn(64, 64)
    with gact.Compressor(network, min_bytes=0):
        hidden = network(x)
        logits = hidden.log_softmax(-1)
        storage = StorageWeakRef(logits.untyped_storage())
        del hidden, logits
        assert storage.expired()


def test_an_activation_dies_during_forward():
    storages, c = [], gact.Compressor(min_bytes=0)
    with c:
        x = torch.randn(64, 64, requires_grad=True)
        for _ in range(5):
            x = (x * 1).sin()
            storages.append(StorageWeakRef(x.untyped_storage()))
    assert [storage.expired() for storage in storages] == [True] * 4 + [False]


def test_live_memory_is_what_the_report_says(no_gc):
    network, x = NETWORKS["convolutional"].build(), NETWORKS["convolutional"].inputs()
    c, before = gact.Compressor(network, min_bytes=0), live_bytes()
    with c:
        loss = network(x).square().mean()
    alive = live_bytes() - before
    report = c.report()
    # The input is there anyway, and the loss is no saved tensor.
    assert alive - 4 <= report.kept_bytes <= alive + x.nbytes
    assert report.kept_bytes < report.plain_bytes / 3
    loss.backward()


class Shifted(nn.Module):
    """Multiplies and adds a table that is just under the default of ``min_bytes``."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(6))
        self.register_buffer("table", torch.randn(60, 256))

    def forward(self, x):
        for layer in self.layers:
            x = nn.functional.gelu(layer(x * self.table) + self.table)
        return x


def test_live_memory_is_what_the_report_says_with_small_operands(no_gc):
    network, x = Shifted(), torch.randn(8, 60, 256)
    c, before = gact.Compressor(network), live_bytes()
    with c:
        loss = network(x).square().mean()
    assert live_bytes() - before - 4 <= c.report().kept_bytes
    loss.backward()


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("least", [0, 65536])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool], ids=str)
def test_a_small_view_does_not_keep_a_large_storage_alive(dtype, least):
    large = torch.randn(1000, 1000).to(dtype)
    expected = large[3, :50].clone()
    with gact.Compressor(min_bytes=least, bits=8):
        output = save(large[3, :50])
    storage = StorageWeakRef(large.untyped_storage())
    del large
    assert storage.expired()
    assert torch.allclose(output.grad_fn.saved_tensors[0].double(), expected.double(), atol=0.1)


def test_a_small_view_of_a_weight_is_not_copied():
    embedding = nn.Embedding(10_000, 64)
    with gact.Compressor(embedding, min_bytes=0):
        x = torch.randn(64, requires_grad=True) * 1
        output = x.sin() * embedding.weight[7]
    first, second = output.grad_fn._saved_self, output.grad_fn._saved_other
    assert second.data_ptr() == embedding.weight[7].data_ptr()
    assert first.data_ptr() != second.data_ptr()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_fifty_steps_without_growth(network):
    model = network.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    c = gact.Compressor(model, min_bytes=0)

    def steps(count):
        for _ in range(count):
            with c:
                loss = model(network.inputs()).square().mean()
            c.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            str(c.report())
        del loss
        gc.collect()
        return len(gc.get_objects()), len(tensors()), live_bytes()

    steps(10)
    objects, *before = steps(10)
    later, *after = steps(31)  # the step in which ranges are followed leaves some figures to the next
    assert after == before
    assert later <= objects + 10


def test_evaluation_passes_with_gradients_do_not_grow():
    model, c = NETWORKS["perceptron"].build(), None
    c = gact.Compressor(model, min_bytes=0)

    def passes(count):
        for _ in range(count):
            with c:
                model(NETWORKS["perceptron"].inputs())
        gc.collect()
        return len(tensors()), live_bytes()

    before = passes(3)
    assert passes(20) == before


def test_one_context_around_many_steps_does_not_grow():
    model = NETWORKS["perceptron"].build()
    c = gact.Compressor(model, min_bytes=0)

    def steps(count):
        for _ in range(count):
            model(NETWORKS["perceptron"].inputs()).square().mean().backward()
            model.zero_grad()
        gc.collect()
        return len(gc.get_objects()), len(tensors()), live_bytes()

    with c:
        steps(10)
        objects, *before = steps(10)
        later, *after = steps(31)  # the step in which ranges are followed leaves some figures to the next
    assert after == before
    assert later <= objects + 10


def test_the_compressor_keeps_nothing_of_a_step():
    model = NETWORKS["perceptron"].build()
    c = gact.Compressor(model, min_bytes=0)
    gc.collect()
    before = live_bytes()
    with c:
        loss = model(NETWORKS["perceptron"].inputs()).square().mean()
    del loss
    gc.collect()
    assert live_bytes() == before
    assert c.report().coverage > 0


def test_a_compressor_dies_with_its_last_reference():
    model = NETWORKS["perceptron"].build()
    c = gact.Compressor(model, min_bytes=0)
    with c:
        loss = model(NETWORKS["perceptron"].inputs()).sum()
    loss.backward()
    dead = weakref.ref(c)
    del c
    gc.collect()
    assert dead() is None


def test_backward_after_the_compressor_is_gone():
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh()), torch.randn(32, 64)
    with gact.Compressor(model, bits=8, min_bytes=0):
        loss = model(x).sum()
    gc.collect()
    loss.backward()
    got, model[0].weight.grad = model[0].weight.grad, None
    model(x).sum().backward()
    assert torch.nn.functional.cosine_similarity(got.flatten(), model[0].weight.grad.flatten(), 0) > 0.999


class Broken(nn.Module):
    def forward(self, x):
        raise ArithmeticError("on purpose")


def state_of_torch():
    return (
        active_pair(),
        torch.overrides._len_torch_function_stack(),
        len(module_hooks._global_forward_hooks),
        len(module_hooks._global_forward_pre_hooks),
        torch.autograd.graph.disable_saved_tensors_hooks,
    )


def test_an_exception_in_forward_leaves_torch_as_it_was():
    model = nn.Sequential(nn.Linear(64, 64), nn.Sequential(nn.Tanh(), Broken()))
    x, before = torch.randn(16, 64), state_of_torch()
    c = gact.Compressor(model, min_bytes=0)
    with pytest.raises(ArithmeticError, match="on purpose"), c:
        model(x)
    assert state_of_torch() == before
    model[1][1] = nn.Identity()
    with c:
        loss = model(x).sum()
    assert state_of_torch() == before
    assert c.report().coverage == 100
    loss.backward()
    assert model[0].weight.grad is not None


class Fallible(nn.Module):
    """Runs its second part only as far as that goes."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Tanh(), nn.Sequential(nn.Identity(), Broken()), nn.Sigmoid()])

    def forward(self, x):
        x = self.parts[0](x)
        with contextlib.suppress(ArithmeticError):
            self.parts[1](x)
        return self.parts[2](x).exp()


def test_an_exception_that_is_caught_inside_does_not_disturb_module_paths():
    model, x = Fallible(), torch.randn(16, 64, requires_grad=True) * 1
    c = gact.Compressor(model, min_bytes=0)
    with c:
        output = model(x)
    assert [(row.module, row.op) for row in c.report().rows] == [
        ("parts.0", "tanh"),
        ("parts.2", "sigmoid"),
        ("", "exp"),
    ]
    output.sum().backward()


def test_an_exception_does_not_warn_that_nothing_was_compressed():
    with pytest.raises(ArithmeticError, match="on purpose"), gact.Compressor():
        Broken()(torch.ones(1))


def test_an_exception_in_backward_leaves_the_next_step_in_order():
    model, x = nn.Linear(64, 64), torch.randn(16, 64)

    def fail(gradient):
        raise ArithmeticError("on purpose")

    c = gact.Compressor(model, min_bytes=0)
    with c:
        output = model(x).tanh()
        handle = output.register_hook(fail)
    with pytest.raises(ArithmeticError, match="on purpose"):
        output.sum().backward()
    handle.remove()
    output.sum().backward()
    assert model.weight.grad is not None
    with c:
        model(x)


def test_a_context_that_cannot_open_leaves_torch_as_it_was():
    before = state_of_torch()
    c = gact.Compressor(nn.Linear(2, 2))
    outer = torch.autograd.graph.save_on_cpu()
    with outer, pytest.raises(RuntimeError, match="other saved-tensor hooks are active"):
        c.__enter__()
    assert state_of_torch() == before
    with c:
        output = save(torch.randn(200, 200))
    assert state_of_torch() == before
    assert output.grad_fn.saved_tensors[0].shape == (200, 200)


def test_storages_that_outlive_their_module_die_quietly(monkeypatch):
    weak, failures = module_of_storages.WeakStorages(), []
    weak.add(torch.zeros(3).untyped_storage())
    monkeypatch.setattr(sys, "unraisablehook", failures.append)
    with monkeypatch.context() as ending:
        for name in vars(module_of_storages).copy():
            if not name.startswith("__"):
                ending.setitem(vars(module_of_storages), name, None)
        del weak
    assert not failures

"""torch.compile inside the context: the graphs made outside, exact gradients, widths where they are asked for."""

import contextlib

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

import gact
from gact.autograd import modules


class Block(nn.Module):
    def __init__(self, width=256):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, x):
        return x + nn.functional.dropout(self.second(self.first(self.norm(x)).relu()), 0.1)


class Net(nn.Module):
    def __init__(self, breaks=False):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.breaks = breaks

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
            if self.breaks:
                torch._dynamo.graph_break()
        return x


def forget():
    """Throws away all that was compiled."""
    torch._dynamo.reset()
    counters.clear()


@pytest.fixture(autouse=True)
def _fresh():
    forget()
    yield
    forget()


def wholly(net, backend):
    net.compile(backend=backend, fullgraph=True)
    return net


def wrapped(net, backend):
    return torch.compile(net, backend=backend, fullgraph=True)


def with_loss(net, backend):
    return torch.compile(lambda x: net(x).square(), backend=backend, fullgraph=True)


def by_block(net, backend):
    for block in net.blocks:
        block.compile(backend=backend, fullgraph=True)
    return net


WAYS = [wholly, wrapped, with_loss, by_block]
pytestmark = pytest.mark.filterwarnings("ignore:Using `torch.compile.module.` when there are global hooks")


def gradients(way, context_of=lambda net: contextlib.nullcontext(), backend="aot_eager", steps=3, net_of=Net):
    """The gradients of the last of some steps, the graphs that were made, and the context."""
    forget()
    torch.manual_seed(1)
    net = net_of()
    x = torch.randn(128, 256)
    context = context_of(net)
    forward = way(net, backend)
    for step in range(steps):
        torch.manual_seed(step)
        net.zero_grad()
        with context:
            loss = forward(x).mean()
        loss.backward()
    return [parameter.grad for parameter in net.parameters()], counters["stats"]["unique_graphs"], context


def compressor(net, **options):
    return gact.Compressor(net, **({"bits": 4, "adaptive": False, "min_bytes": 0} | options))


@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_those_of_plain_compiled_training_and_so_are_the_graphs(way):
    plain, graphs, _ = gradients(way)
    ours, ours_graphs, c = gradients(way, compressor)
    assert graphs == ours_graphs > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))
    rows = [row for row in c.report().rows if row.op == "compiled"]
    assert {row.reason for row in rows if row.codec == "keep"} == {"compiled"}
    assert "mask" in {row.codec for row in rows}  # the dropout's


def test_gradients_are_those_of_inductor():
    plain, _, _ = gradients(wholly, backend="inductor", steps=2)
    ours, _, c = gradients(wholly, compressor, backend="inductor", steps=2)
    assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))
    assert "compiled" in {row.op for row in c.report().rows}


def test_a_rule_has_values_rounded():
    plain, _, _ = gradients(wholly)
    ours, _, c = gradients(wholly, lambda net: compressor(net, rules=[gact.Rule(op="compiled", bits=8)]))
    noise = sum((a - b).square().sum() for a, b in zip(plain, ours, strict=True))
    energy = sum(a.square().sum() for a in plain)
    assert 0 < noise < 0.01 * energy  # most of it from ReLU's sign, which this backend reads off the rounded value
    assert c.report().ratio > 3
    assert not [row for row in c.report().rows if row.reason == "compiled"]


def test_what_runs_between_compiled_functions_is_compressed():
    """After a graph break ops run one by one, with our function mode around them; none of it is compiled."""

    class Broken(Net):
        def forward(self, x):
            x = self.blocks[0](x)
            torch._dynamo.graph_break()
            return self.blocks[1](x)

    def way(net, backend):
        net.blocks[1] = torch.compiler.disable(net.blocks[1])
        net.compile(backend=backend)
        return net

    _, plain_graphs, _ = gradients(way, net_of=Broken)
    _, graphs, c = gradients(way, compressor, net_of=Broken)
    assert graphs == plain_graphs > 0
    assert {"compiled", "linear", "layer_norm"} <= {row.op for row in c.report().rows}


def test_graph_breaks_make_no_graph_more():
    def way(net, backend):
        net.compile(backend=backend)
        return net

    _, plain_graphs, _ = gradients(way, net_of=lambda: Net(breaks=True))
    _, graphs, _ = gradients(way, compressor, net_of=lambda: Net(breaks=True))
    assert graphs == plain_graphs > 1


def test_nothing_of_ours_is_compiled_where_nothing_else_is():
    """The modules of torch.nn are not compiled by themselves, so the first function of a user would be ours."""
    net = nn.Sequential(nn.Linear(256, 256), nn.ReLU())
    net.compile(backend="aot_eager")
    c = compressor(net)
    with c:
        loss = net(torch.randn(128, 256)).square().mean()
    loss.backward()
    assert counters["stats"]["unique_graphs"] == 0
    assert {"linear", "relu"} & {row.op for row in c.report().rows}


def test_plain_steps_between_make_one_graph_more():
    net = wholly(Net(), "aot_eager")
    c = compressor(net)
    x = torch.randn(128, 256)
    for _ in range(3):
        with c:
            loss = net(x).mean()
        loss.backward()
        net(x).mean().backward()
    assert counters["stats"]["unique_graphs"] <= 2


def test_a_measurement_that_compiled_backward_refuses_is_given_up_with_a_reason():
    net = wholly(Net(), "aot_eager")
    c = compressor(net, adaptive=True)
    x = torch.randn(128, 256)

    def step():
        net.zero_grad()
        with c:
            loss = net(x).square().mean()
        c.backward(loss)

    step()
    with pytest.warns(UserWarning, match=r"could not measure sensitivities.*donated"):
        step()
    step()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_sensitivities_are_measured_where_compiled_backward_allows_it():
    with torch._functorch.config.patch(donated_buffer=False):
        net = wholly(Net(), "aot_eager")
        c = compressor(net, adaptive=True, rules=[gact.Rule(op="compiled", min_bits=1)])
        x = torch.randn(128, 256)
        for _ in range(3):
            with c:
                loss = net(x).square().mean()
            c.backward(loss)
    assert "compiled" in {row.op for row in c.report().rows if row.bits and row.codec == "groups"}
    assert c.report().passes > 0


def test_the_report_names_the_module_that_was_compiled():
    net = Net()
    c = compressor(net)
    block = torch.compile(net.blocks[1], backend="aot_eager")
    with c:
        loss = block(net.blocks[0](torch.randn(128, 256))).square().mean()
    loss.backward()
    assert {row.module for row in c.report().rows if row.op == "compiled"} == {"blocks.1"}


def test_hooks_of_modules_are_there_while_somebody_follows():
    from torch.nn.modules import module

    places = [
        module._global_forward_pre_hooks,
        module._global_forward_hooks,
        module._global_forward_hooks_always_called,
    ]
    before = [dict(place) for place in places]
    inside = []
    for _ in range(2):
        with contextlib.suppress(RuntimeError), compressor(None):
            inside.append([set(place) for place in places])
            raise RuntimeError
        assert [dict(place) for place in places] == before
    assert inside[0] == inside[1]
    assert modules._here.followers == []

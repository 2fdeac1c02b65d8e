"""torch.compile inside the context: held in codes like everything else, with one graph more than outside."""

import contextlib
import copy
import warnings

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

import gact
from gact import compiled
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


def noise(ours, plain):
    return float(sum((a - b).square().sum() for a, b in zip(ours, plain, strict=True))) / float(
        sum(each.square().sum() for each in plain)
    )


@pytest.mark.parametrize("way", WAYS)
def test_what_compiled_code_saves_is_held_in_codes(way):
    plain, graphs, _ = gradients(way)
    ours, ours_graphs, c = gradients(way, compressor)
    assert graphs == ours_graphs > 0
    assert 0 < noise(ours, plain) < 0.02
    report = c.report()
    assert report.ratio > 4.5
    assert report.coverage > 85
    assert {"groups", "mask"} <= {row.codec for row in report.rows}  # the masks are dropout's and ReLU's
    assert report.parameter_saves > 0


def test_what_inductor_saves_is_held_in_codes():
    plain, graphs, _ = gradients(wholly, backend="inductor", steps=2)
    ours, ours_graphs, c = gradients(wholly, compressor, backend="inductor", steps=2)
    assert graphs == ours_graphs
    assert 0 < noise(ours, plain) < 0.01
    assert c.report().ratio > 5


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_gradients_are_right_on_average(bits):
    """The mean over many seeds is off by no more than its own noise, which is that of code not compiled."""
    runs = 24
    torch.manual_seed(0)
    own = Net()
    net, x = wholly(copy.deepcopy(own), "aot_eager"), torch.randn(64, 256)

    def run(context, net=net):
        torch.manual_seed(1)
        net.zero_grad()
        with context:
            loss = net(x).square().mean()
        loss.backward()
        return loss.item(), [parameter.grad for parameter in net.parameters()]

    loss, plain = run(contextlib.nullcontext())
    found = [run(compressor(net, bits=bits, seed=seed)) for seed in range(runs)]
    assert {each for each, _ in found} == {loss}
    alone = sum(noise(each, plain) for _, each in found) / runs
    mean = [sum(each) / runs for each in zip(*(each for _, each in found), strict=True)]
    _, plain_own = run(contextlib.nullcontext(), own)
    own_noise = [noise(run(compressor(own, bits=bits, seed=seed), own)[1], plain_own) for seed in range(4)]
    assert 0 < alone < 2 * sum(own_noise) / 4
    assert noise(mean, plain) < 2.5 * alone / runs


def test_rules_and_reasons_name_modules_and_functions():
    rules = [gact.Rule(module="blocks.0", op="dropout", keep=True), gact.Rule(module="blocks.1*", bits=8)]
    _, _, c = gradients(wholly, lambda net: compressor(net, rules=rules))
    rows = c.report().rows
    assert {row.bits for row in rows if row.codec == "groups" and row.module.startswith("blocks.1")} == {8}
    assert {row.bits for row in rows if row.codec == "groups" and row.module.startswith("blocks.0")} == {4}
    assert {row.module for row in rows} >= {"blocks.0.norm", "blocks.1.norm"}


def test_neither_seeds_nor_widths_nor_compressors_compile_anew():
    net, x = wholly(Net(), "aot_eager"), torch.randn(128, 256)
    net(x).mean().backward()
    for bits in (2, 4, 8):
        c = compressor(net, bits=bits)
        for _ in range(5):
            with c:
                loss = net(x).mean()
            loss.backward()
        assert c.report().ratio > 2.5
    assert counters["stats"]["unique_graphs"] == 2
    net.zero_grad()
    net(x).mean().backward()  # the plain graph is still there
    assert counters["stats"]["unique_graphs"] == 2


def test_batches_of_five_sizes_make_two_graphs_more_at_most():
    net = Net()
    net.compile(backend="aot_eager", fullgraph=True)
    sizes = (128, 96, 160, 64, 200)
    for size in sizes:
        net(torch.randn(size, 256)).mean().backward()
    plain = counters["stats"]["unique_graphs"]
    c = compressor(net)
    for size in sizes:
        with c:
            loss = net(torch.randn(size, 256)).mean()
        loss.backward()
        assert c.report().ratio > 5
    assert counters["stats"]["unique_graphs"] - plain <= 2


def test_a_value_between_two_compiled_blocks_is_held_once():
    class Chain(Net):
        def forward(self, x):
            return self.blocks[1](self.blocks[0](x).relu())  # saved by ReLU outside, and by the norm inside

    plain, _, _ = gradients(by_block, net_of=Chain)
    ours, _, c = gradients(by_block, compressor, net_of=Chain)
    assert 0 < noise(ours, plain) < 0.01
    assert sum(row.plain_bytes for row in c.report().rows if row.codec == "keep") < 0.2 * c.report().plain_bytes


def test_code_compiled_inside_runs_plainly_once_the_context_is_left():
    net, x = wholly(Net(), "aot_eager"), torch.randn(128, 256)

    def step():
        torch.manual_seed(3)
        net.zero_grad()
        loss = net(x).mean()
        loss.backward()
        return [parameter.grad.clone() for parameter in net.parameters()]

    before = step()
    with compressor(net):
        loss = net(x).mean()
    made = counters["stats"]["unique_graphs"]
    after = step()
    loss.backward()  # what was saved inside is still good
    assert made == counters["stats"]["unique_graphs"]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_result_that_is_saved_too_comes_back_right():
    def run(context):
        torch.manual_seed(0)
        net = nn.Linear(256, 256)
        nn.init.eye_(net.weight)

        @torch.compile(backend="aot_eager", fullgraph=True)
        def twice(x):
            h = net(x).exp()
            return h, h * h, h.sum()

        x = torch.linspace(-1, 1, 128 * 256).view(128, 256)
        with context:
            a, b, total = twice(x)
        (a.mean() + b.mean() + total / a.numel()).backward()
        return a.detach(), b.detach(), net.weight.grad

    *plain, plain_gradient = run(contextlib.nullcontext())
    *ours, gradient = run(compressor(None, bits=8))
    assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))
    assert noise([gradient], [plain_gradient]) < 1e-4


def test_weights_are_not_packed_under_autocast_either(monkeypatch):
    from gact.compiled.receiver import Receiver

    packed = []
    pack = Receiver.pack
    monkeypatch.setattr(Receiver, "pack", lambda self, x, *rest: packed.append(x.clone()) or pack(self, x, *rest))
    net, x = wholly(Net(), "aot_eager"), torch.randn(128, 256)
    with compressor(net), torch.autocast("cpu", torch.bfloat16):
        loss = net(x).float().square().mean()
    loss.backward()
    assert {torch.bfloat16} <= {each.dtype for each in packed}
    for weight in (parameter.detach() for parameter in net.parameters() if parameter.dim() == 2):
        for each in packed:
            for way in (weight, weight.T):
                assert each.shape != way.shape or not torch.equal(each, way.to(each.dtype))


def test_images_in_channels_last_come_back_in_their_order():
    class Images(nn.Sequential):
        def forward(self, x):
            return super().forward(x)

    def run(context, backend):
        forget()
        torch.manual_seed(0)
        net = Images(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3))
        net.compile(backend=backend, fullgraph=True)
        x = torch.randn(4, 8, 20, 20)
        c = context(net)
        with c:
            loss = net(x).square().mean()
        loss.backward()
        return [parameter.grad for parameter in net.parameters()], net[1].running_mean, c

    plain, mean, _ = run(lambda net: contextlib.nullcontext(), "inductor")
    ours, our_mean, c = run(lambda net: compressor(net, bits=8), "inductor")
    assert torch.equal(mean, our_mean)
    assert 0 < noise(ours, plain) < 1e-4
    assert c.report().coverage > 85


def test_torch_of_another_shape_leaves_compiled_code_as_it_was(monkeypatch):
    monkeypatch.setattr(compiled, "is_possible", lambda: False)
    plain, graphs, _ = gradients(wholly)
    ours, ours_graphs, c = gradients(wholly, compressor)
    assert graphs == ours_graphs > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))
    rows = [row for row in c.report().rows if row.op == "compiled"]
    assert {row.reason for row in rows if row.codec == "keep"} == {"compiled"}
    assert "mask" in {row.codec for row in rows}  # the dropout's


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_what_cannot_be_edited_runs_as_torch_made_it(monkeypatch):
    from gact.compiled import install

    def fail(*arguments):
        raise KeyError("a graph of another kind")

    plain, _, _ = gradients(wholly)
    monkeypatch.setattr(install, "edit", fail)
    with pytest.warns(gact.GactWarning, match=r"left a compiled function as it is.*a graph of another kind"):
        ours, _, _ = gradients(wholly, compressor)
    assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))


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
    assert {"blocks.0", "blocks.1._orig_mod.first"} <= {row.module for row in c.report().rows}


def test_graph_breaks_make_no_graph_more():
    def way(net, backend):
        net.compile(backend=backend)
        return net

    _, plain_graphs, _ = gradients(way, net_of=lambda: Net(breaks=True))
    _, graphs, _ = gradients(way, compressor, net_of=lambda: Net(breaks=True))
    assert graphs == plain_graphs > 1


def test_nothing_of_ours_is_compiled_where_nothing_else_is():
    """Before torch 2.14 torch.nn is not compiled by itself: the first function of a user would be ours."""

    def compiled():
        torch._dynamo.reset()
        counters.clear()
        net = nn.Sequential(nn.Linear(256, 256), nn.ReLU())
        net.compile(backend="aot_eager")
        return net

    compiled()(torch.randn(128, 256)).square().mean().backward()
    alone = counters["stats"]["unique_graphs"]
    net = compiled()
    c = compressor(net)
    with c:
        loss = net(torch.randn(128, 256)).square().mean()
    loss.backward()
    assert counters["stats"]["unique_graphs"] == alone
    held = {row.op for row in c.report().rows}
    assert held >= ({"le"} if alone else {"linear", "relu"})  # compiled code compares for ReLU by itself


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
        c = compressor(net, adaptive=True)
        x = torch.randn(128, 256)
        for _ in range(3):
            with c:
                loss = net(x).square().mean()
            c.backward(loss)
    rows = [row for row in c.report().rows if row.codec == "groups"]
    assert c.report().passes > 0
    assert len({row.bits for row in rows}) > 1
    assert sum(row.noise_share or 0 for row in rows) == pytest.approx(1, abs=0.05)


class WithLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x).square().mean()


@pytest.mark.parametrize("donated", [False, True])
def test_a_loss_that_is_compiled_too_is_met_by_measurements(donated):
    with torch._functorch.config.patch(donated_buffer=donated), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        net = wholly(WithLoss(), "aot_eager")
        c = compressor(net, adaptive=True)
        x = torch.randn(128, 256)
        for _ in range(3):
            with c:
                loss = net(x)
            loss.backward()
    reasons = [str(each.message) for each in seen if "could not measure" in str(each.message)]
    if donated:
        assert "donated" in c.report().unmeasured
        assert len(reasons) == 1
        assert "donated" in reasons[0]
    else:
        assert not reasons
        assert c.report().passes > 0
        assert len({row.bits for row in c.report().rows if row.codec == "groups"}) > 1


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 4))

    def forward(self, x):
        return self.net(x).square().mean()  # backward likes to write to the four columns


def test_code_on_disk_whose_backward_runs_once_is_not_taken_for_code_that_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    x, net = torch.randn(128, 64), Head()
    net(x).backward()
    expected = torch.cat([each.grad.flatten() for each in net.parameters()])
    for donated in (True, False):
        forget()
        with torch._functorch.config.patch(donated_buffer=donated), compressor(net):
            loss = torch.compile(net, backend="inductor")(x)
        for _ in range(1 if donated else 3):
            net.zero_grad()
            loss.backward(retain_graph=not donated)
            found = torch.cat([each.grad.flatten() for each in net.parameters()])
            assert (found - expected).norm() < 0.1 * expected.norm()


def test_the_report_names_the_module_that_was_compiled():
    net = Net()
    c = compressor(net)
    block = torch.compile(net.blocks[1], backend="aot_eager")
    with c:
        loss = block(net.blocks[0](torch.randn(128, 256))).square().mean()
    loss.backward()
    assert {"blocks.1", "blocks.1.norm"} <= {row.module for row in c.report().rows}


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

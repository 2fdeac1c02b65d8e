"""Networks that are run otherwise than by Python calls: exported, traced, scripted, compiled."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds, mlp
from torch import nn

KINDS = Kinds()


class Net(nn.Module):
    """Ops whose backward reads signs, indices, bounds and quotients, besides layers and norms."""

    def __init__(self):
        super().__init__()
        self.net = mlp(32, 96, 96)
        self.norm = nn.LayerNorm(96)
        self.last = nn.Linear(96, 16)

    def forward(self, x):
        h = F.relu(self.net(x))
        h = h.sin() / (h * h + 0.01) + h.abs().amax(-1, keepdim=True)
        h = F.hardtanh(F.gelu(self.norm(h)), -1.0, 1.0)
        return F.log_softmax(self.last(h), -1)


class Conv(nn.Module):
    """Convolutions, a norm over the batch, pooling."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 10)

    def forward(self, x):
        h = F.max_pool2d(F.relu6(self.norm(self.first(x)) * 3), 2)
        return self.last(F.silu(h).mean((2, 3)))


def export(net, x):
    return torch.export.export(net, (x,)).module()


def export_decomposed(net, x):
    return torch.export.export(net, (x,)).run_decompositions().module()


def symbolic(net, x):
    return torch.fx.symbolic_trace(net)


def make_fx(net, x):
    """A graph of aten overloads, which gets the weights as arguments."""
    from torch.fx.experimental.proxy_tensor import make_fx as traced

    weights = dict(net.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}

    def call(weights, x):
        return torch.func.functional_call(net, (weights, buffers), (x,))

    graph = traced(call, tracing_mode="real")(weights, x)

    class Called(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return graph(dict(self.net.named_parameters()), x)

    return Called()


def script(net, x):
    """The profiling runs come first: then the optimised graph is used, with derivatives of its own."""
    scripted = torch.jit.script(net)
    for _ in range(3):
        scripted(x).square().mean().backward()
    return scripted


def trace(net, x):
    traced = torch.jit.trace(net, x, check_trace=False)
    for _ in range(3):
        traced(x).square().mean().backward()
    return traced


def compiled(backend):
    def run(net, x):
        torch.compiler.reset()
        return torch.compile(net, backend=backend)

    run.__name__ = backend
    return run


WAYS = (export, export_decomposed, symbolic, make_fx, script, trace, compiled("eager"), compiled("aot_eager"))


# The decomposed graph of a norm over the batch writes to what it saved, which plain autograd refuses.
@KINDS.of(*((w, n) for w in WAYS for n in (Net, Conv) if (w, n) != (export_decomposed, Conv)))
def run_by(way, net):
    x = torch.randn(96, 32) if net is Net else torch.randn(6, 3, 14, 14)
    torch.manual_seed(1)
    plain = net().train()
    model, target = way(plain, x), None
    with torch.no_grad():
        target = torch.randn_like(plain(x))
    return model, lambda: (model(x) - target).square().mean()


@pytest.mark.parametrize("name", KINDS)
def test_graphs(name):
    warnings.simplefilter("ignore")
    # 2 bits take longer than they tell here.
    KINDS.check(name, (8, 4))

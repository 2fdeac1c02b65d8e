"""Values in compiled code that are functions of one other: that one is held, finely, and they are made of it."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

import gact
from gact.compiled.turns import Turns


def gelu_of_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


FUNCTIONS = {
    "gelu of tanh": gelu_of_tanh,
    "gelu of erf": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "gelu": F.gelu,
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "square": lambda x: x + 0.1 * x * x,
}


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.inner, self.outer = nn.Linear(32, 64), nn.Linear(64, 8)
        self.function = function

    def forward(self, x):
        return self.outer(self.function(self.inner(x)))


class Gated(Function):
    def __init__(self, function):
        super().__init__(function)
        self.gate = nn.Linear(32, 64)

    def forward(self, x):
        return self.outer(self.function(self.inner(x)) * self.gate(x))


class Trial:
    """A compiled function between two layers, and its gradients."""

    def __init__(self, model, x, autocast=False, backend="aot_eager"):
        torch._dynamo.reset()
        self.model, self.x, self.autocast = model, x, autocast
        self.compiled = torch.compile(model, backend=backend)
        self.weights = list(model.parameters())
        self.y = torch.randn(len(x), 8)
        self.loss, self.expected = self.run()

    def run(self, compressor=None):
        context = compressor or contextlib.nullcontext()
        with context, torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss = (self.compiled(self.x) * self.y).sum()
        return loss.detach(), torch.cat([each.flatten() for each in torch.autograd.grad(loss, self.weights)])

    def error(self, bits, count=1):
        """Noise, the square of the bias, and the report."""
        compressor = gact.Compressor(self.model, bits=bits, adaptive=False, min_bytes=0)
        errors = []
        for _ in range(count):
            loss, found = self.run(compressor)
            assert torch.equal(loss, self.loss)
            errors.append(((found - self.expected) / self.expected.norm()).double())
        bias = sum(errors[::2]).dot(sum(errors[1::2])) / (count // 2) ** 2 if count > 1 else math.nan
        return sum(float(each.square().sum()) for each in errors) / count, float(bias), compressor.report()


def make(kind, function, **kwargs):
    torch.manual_seed(0)
    model = kind(function)
    model.inner.weight.data *= 3
    return Trial(model, torch.randn(64, 32), **kwargs)


def widths(report, numel=64 * 64):
    """Widths of codes of values of the size of what the function is applied to."""
    return sorted(row.bits for row in report.rows if row.kept_bytes >= numel // 8 and row.codec == "groups")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_value_is_held_for_all_that_are_made_of_it(name):
    noise, bias, report = make(Function, FUNCTIONS[name]).error(4, 8)
    assert noise < 2e-4
    assert bias < 2e-5
    assert widths(report) == [8, 8, 8]  # the input, that value, and the factor of the loss


def test_it_has_the_bits_of_all_together_and_six_at_least():
    trial = make(Function, F.gelu, autocast=True)
    found = [trial.error(bits)[2] for bits in (2, 3, 8)]
    assert [widths(each) for each in found] == [[2, 6, 8], [3, 6, 8], [8, 8, 8]]


@pytest.mark.parametrize("backend", ["aot_eager", "aot_eager_decomp_partition"])
def test_a_factor_keeps_its_width(backend):
    """The second backend has the operators that Inductor makes of others: SiLU divides by 1 and an exponential."""
    trial = make(Gated, F.silu, backend=backend)
    noise, bias, report = trial.error(4, 4)
    assert noise < 1.5e-2
    assert bias < 4e-3
    assert widths(report) == [4, 8, 8, 8]


def test_loud_rows_bias_nothing():
    torch.manual_seed(0)
    x = torch.randn(64, 32)
    x[::16] *= 1e4
    trial = Trial(Function(gelu_of_tanh), x)
    noise, bias, _ = trial.error(2, 4)
    assert noise < 1e-3
    assert bias < 1e-4


def test_what_turns_too_fast_is_held_as_before():
    """Of a rounded tanh nothing is left in 1 less its square, where it is 1."""
    noise, _, report = make(Function, lambda x: x * (1 + torch.tanh(50 * x + x**3))).error(4, 4)
    assert noise < 1.5e-2
    assert max(widths(report)[:3]) == 4


def test_what_is_made_of_exact_values_is_not_held():
    noise, _, report = make(Function, lambda x: x * torch.tanh(F.softplus(x))).error(4, 2)
    assert noise < 2e-4
    assert widths(report) == [8, 8]
    assert any(row.codec == "keep" for row in report.rows)


def test_graphs_may_be_deep():
    graph = fx.Graph()
    node = source = graph.placeholder("x")
    chain = [node := graph.call_function(torch.ops.aten.add.Tensor, (node, 1.0)) for _ in range(2000)]
    turns = Turns(source, lambda each: False, lambda each: (each.target, each.args, each.kwargs))
    assert turns.of(chain[9]) == math.inf  # a line
    assert turns.of(chain[-1]) == 0.0  # nobody has followed it

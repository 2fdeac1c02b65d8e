"""Training loops whose graph changes from step to step: no error, gradients near plain ones, and widths that settle."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from training import compressor, gradient, passes, square, step, widths


class Stochastic(nn.Module):
    """Each block but the first is left out half of the time."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(32, 32) for _ in range(6))

    def forward(self, x):
        for index, block in enumerate(self.blocks):
            if not index or torch.rand(()) < 0.5:
                x = x + block(x).tanh()
        return x


class Experts(nn.Module):
    """Each token goes to one of four experts, so that their batches vary and may be empty."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(32, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(4))

    def forward(self, x):
        gates = self.gate(x).softmax(-1)
        best, output = gates.argmax(-1), torch.zeros_like(x)
        for index, expert in enumerate(self.experts):
            chosen = (best == index).nonzero()[:, 0]
            output = output.index_add(0, chosen, expert(x[chosen]) * gates[chosen, index, None])
        return output


def network():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 8))


def modules(c):
    """Which of the parts of a model have widths."""
    return {site.split(".")[0] for site in widths(c) if not site.startswith("(model)")}


@pytest.mark.parametrize("make", [Stochastic, Experts], ids=lambda make: make.__name__)
def test_changing_graphs_train_and_settle(make):
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    c = compressor(model, probe_interval=40)
    losses, measured = [], []
    for number in range(1, 121):
        optimizer.zero_grad()
        before = passes(c)
        losses.append(float(step(c, model, torch.randn(64, 32), lambda model, x: F.mse_loss(model(x), x))))
        measured += [number] * (passes(c) > before)
        optimizer.step()
    assert sum(losses[-10:]) < sum(losses[:10])
    assert measured[0] == 2
    assert len(measured) <= 10
    assert not c._controller.failure
    assert set(widths(c)) >= {str(site) for site in c._steps.ledger.tallies if site in c._controller.findings}


def test_two_losses_in_alternating_backwards():
    maker, judge = network(), nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    both = nn.ModuleDict({"maker": maker, "judge": judge})
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.01) for each in (judge, maker)]
    c = compressor(both, probe_interval=4)
    for _ in range(12):
        with c:
            made = maker(torch.randn(64, 32))
            judged = F.softplus(judge(made.detach())).mean() + F.softplus(-judge(torch.randn(64, 8))).mean()
        optimizers[0].zero_grad()
        c.backward(judged)
        optimizers[0].step()
        with c:
            fooled = F.softplus(-judge(made)).mean()
        optimizers[1].zero_grad()
        c.backward(fooled)
        optimizers[1].step()
    assert not c._controller.failure
    assert modules(c) == {"maker", "judge"}


def test_two_losses_of_one_step_are_measured_each():
    model, other = network(), network()
    c = compressor(nn.ModuleDict({"a": model, "b": other}), ratio=12.0)
    x = torch.randn(64, 32)
    for _ in range(2):
        with c:
            losses = [square(model, x), square(other, x)]
        for loss in losses:
            c.backward(loss)
    assert modules(c) == {"a", "b"}
    with c:
        losses = [square(model, x), square(other, x)]
    assert c.report().ratio >= 12.0  # the finer codes of the first loss do not count as fixed bytes


@pytest.mark.parametrize("forwards_first", [False, True])
def test_micro_batches_accumulate_what_plain_autograd_does(forwards_first):
    model = network()
    twin = copy.deepcopy(model)
    c = compressor(model, bits=8, probe_interval=3)
    batches = torch.randn(6, 64, 32)
    pending = []
    for batch in batches:
        with c:
            pending.append(square(model, batch))
        if not forwards_first or len(pending) == 2:
            for loss in pending:
                c.backward(loss)
            pending = []
        square(twin, batch).backward()
    assert passes(c) > 1
    assert (gradient(model) - gradient(twin)).norm() < 0.02 * gradient(twin).norm()


def test_a_loss_that_reads_part_of_the_step_measures_that_part():
    model = network()
    c, x = compressor(model, probe_interval=100), torch.randn(64, 32)
    for _ in range(2):
        with c:
            hidden = model[:2](x)
            model[2:](hidden.detach())
            loss = hidden.square().mean()
        c.backward(loss)
    assert widths(c)
    assert not any(site.startswith(("2", "3", "4")) for site in widths(c))


def test_a_loss_that_reads_nothing_of_the_step_is_no_error():
    model, x = network(), torch.randn(64, 32)
    c, weight = compressor(model), torch.zeros(3, requires_grad=True)
    step(c, model, x)
    with c:
        output = model(x)
    c.backward(weight.sum())
    assert widths(c) == {}
    c.backward(output.sum())
    assert len(widths(c)) > 1


def test_a_second_backward_of_the_measured_step_measures_no_more():
    model, x = network(), torch.randn(64, 32)
    c = compressor(model)
    step(c, model, x)
    with c:
        loss = square(model, x)
    c.backward(loss, retain_graph=True)
    before, first = passes(c), gradient(model)
    model.zero_grad()
    c.backward(loss)
    assert passes(c) == before > 1
    assert torch.isfinite(first).all()

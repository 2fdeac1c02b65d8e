"""Checkpoint around blocks that are compiled: both runs of a block take the same code."""

import contextlib
import copy

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.overrides import _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

import gact
from gact.autograd import modules

WIDTH = 64
X = torch.randn(32, WIDTH, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + nn.functional.dropout(self.second(nn.functional.gelu(self.first(self.norm(x)))), 0.1)


class Holder(nn.Module):
    """A block that is not compiled, of one that is."""

    def __init__(self):
        super().__init__()
        self.inner = Block()
        self.inner.compile(backend="aot_eager")

    def forward(self, x):
        return self.inner(x) * 2


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def net_of(kind):
    torch.manual_seed(1)
    return nn.ModuleList(kind() for _ in range(2))


def compiled_blocks():
    net = net_of(Block)
    for block in net:
        block.compile(backend="aot_eager")
    return net


def step(net, context, within=False, loss_of=torch.square):
    """The gradients of a step whose blocks are checkpointed, backward inside of the context or outside."""
    net.zero_grad()
    torch.manual_seed(2)
    with contextlib.ExitStack() as left:
        left.enter_context(context)
        x = X
        for block in net:
            x = checkpoint(block, x, use_reentrant=False)
        loss = loss_of(x).mean()
        if within:
            loss.backward()
    if not within:
        loss.backward()
    return torch.cat([each.grad.flatten() for each in net.parameters()])


def compressor(net, **options):
    return gact.Compressor(net, bits=8, adaptive=False, min_bytes=1024, **options)


def noise(got, truth):
    return ((got - truth).square().sum() / truth.square().sum()).item()


@pytest.mark.parametrize("within", [False, True], ids=["backward outside", "backward inside"])
@pytest.mark.parametrize("make", [compiled_blocks, lambda: net_of(Holder)], ids=["compiled", "compiled inside"])
def test_a_block_runs_again_as_the_code_that_ran_first(make, within):
    net = make()
    plain = step(net, contextlib.nullcontext())
    counters.clear()
    c = compressor(net)
    for _ in range(2):
        assert 0 < noise(step(net, c, within), plain) < 1e-3
    assert (
        counters["stats"]["unique_graphs"] <= 2
    )  # one for each of two positions of the input, which needs no gradient
    assert {row.op for row in c.report().rows} >= {"checkpoint"}
    torch.testing.assert_close(step(net, contextlib.nullcontext()), plain, rtol=0, atol=0)


@pytest.mark.parametrize("again", [False, True], ids=["plain second run", "compressed second run"])
def test_blocks_that_the_compressor_checkpoints_may_hold_compiled_ones(again):
    net = nn.Sequential(*net_of(Holder))
    reference = copy.deepcopy(net)
    torch.manual_seed(2)
    reference(X).square().mean().backward()
    c = compressor(net, checkpoint=["*"], compress_again=again)
    for _ in range(2):
        net.zero_grad()
        torch.manual_seed(2)
        with c:
            loss = net(X).square().mean()
        loss.backward()
        for got, truth in zip(net.parameters(), reference.parameters(), strict=True):
            assert noise(got.grad, truth.grad) < 1e-3


class Router(nn.Module):
    """Takes the larger of two ways: what it does is another where its input is rounded."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return torch.where(x > x.mean(), self.first(x), self.second(x))


def test_the_input_of_a_block_that_may_decide_in_compiled_code_is_exact():
    net = net_of(Router)
    for block in net:
        block.compile(backend="aot_eager")
    plain = step(net, contextlib.nullcontext(), loss_of=torch.relu)
    c = compressor(net)
    torch.testing.assert_close(step(net, c, loss_of=torch.relu), plain, rtol=0, atol=0)
    rows = [row for row in c.report().rows if row.op == "checkpoint"]
    assert {row.codec for row in rows} == {"keep"}
    assert "input of a checkpointed block that decides something" in {row.reason for row in rows}


def test_nothing_is_left_behind_by_the_second_run():
    net = compiled_blocks()
    step(net, compressor(net))
    assert _get_current_function_mode_stack() == []
    assert not modules._here.followers
    assert not modules._hooks._followers


def test_nothing_is_left_behind_by_an_error_in_the_second_run():
    net, runs = compiled_blocks(), []

    def failing(x):
        runs.append(x)
        if len(runs) > 1:
            raise ValueError("mine")
        return net[0](x)

    with compressor(net):
        loss = checkpoint(failing, X, use_reentrant=False).square().mean()
    with pytest.raises(ValueError, match="mine"):
        loss.backward()
    assert _get_current_function_mode_stack() == []
    assert not modules._hooks._followers


def test_modes_of_a_second_run_are_quiet():
    net, seen = compiled_blocks(), []

    def noting(x):
        seen.append(list(_get_current_function_mode_stack()))
        return net[0](x)

    c = compressor(net)
    with c:
        loss = checkpoint(noting, X, use_reentrant=False).square().mean()
    rows = [(row.op, row.plain_bytes) for row in c.report().rows]
    loss.backward()
    first, second = seen
    assert [type(mode) for mode in first] == [type(mode) for mode in second]
    assert first[0] is not second[0]
    assert [(row.op, row.plain_bytes) for row in c.report().rows] == rows


@pytest.mark.parametrize("early_stop", [True, False])
def test_the_graph_may_be_used_twice(early_stop):
    net = compiled_blocks()
    with torch.utils.checkpoint.set_checkpoint_early_stop(early_stop), compressor(net):
        loss = checkpoint(net[0], X, use_reentrant=False).square().mean()
    inputs = list(net[0].parameters())
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    second = torch.autograd.grad(loss, inputs)
    for one, two in zip(first, second, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)

"""Loops of the published package."""

import copy
import threading

import pytest
import torch
from torch import nn

from gact import compat
from saved import active_pair

PLAIN = torch.Tensor.backward


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(compat, "_chosen", compat._Chosen())
    yield
    assert torch.Tensor.backward is PLAIN
    assert active_pair() is None


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8))


class Loop:
    """The closure of a training, counting its calls."""

    def __init__(self, model):
        self.model, self.calls = model, 0
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        self.x = torch.randn(64, 32)

    def backprop(self):
        self.calls += 1
        output = self.model(self.x)
        loss = output.square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        del loss, output


def test_the_loop_of_the_published_readme(model):
    compat.set_optimization_level("L2")
    controller = compat.Controller(model, min_bytes=0)
    controller.install_hook()
    loop = Loop(model)
    before = model(loop.x).square().mean().item()
    for _ in range(6):
        loop.optimizer.step()
        controller.iterate(loop.backprop)
    controller.uninstall_hook()
    assert loop.calls == 6
    assert model(loop.x).square().mean().item() < before
    report = controller.compressor.report()
    assert report.passes > 1
    assert report.ratio > 3


def test_a_loop_with_a_backward_of_its_own_needs_no_closure(model):
    compat.set_optimization_level("L2.1")
    controller = compat.Controller(model, min_bytes=0)
    controller.install_hook()
    loop = Loop(model)
    for _ in range(4):
        loop.backprop()
        loop.optimizer.step()
        controller.iterate(pytest.fail)
    controller.uninstall_hook()
    assert controller.compressor.report().passes > 1


@pytest.mark.parametrize("level", compat.LEVELS)
def test_levels(level, model):
    compat.set_optimization_level(level)
    controller = compat.Controller(model, min_bytes=0)
    twin = copy.deepcopy(model)
    controller.install_hook()
    loop = Loop(model)
    for _ in range(3):
        controller.iterate(loop.backprop)
    controller.uninstall_hook()
    assert loop.calls == 3
    report = controller.compressor.report()
    bits = {row.bits for row in report.rows if row.codec == "groups"}
    fixed = {"L0": set(), "L1": {4, 8}, "L1.1": {8}, "L1.2": {2, 8}, "swap": set(), "L4bit-swap": {4, 8}}
    assert bits == fixed[level] if level in fixed else len(bits) > 1
    assert (report.passes > 0) == level.startswith(("L2", "L3"))
    if level == "L0":
        twin(loop.x).square().mean().backward()
        assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_options_of_backward_are_passed_on(model):
    controller = compat.Controller(model, min_bytes=0)
    controller.install_hook()
    for _ in range(3):
        output = model(torch.randn(64, 32))
        output.backward(torch.ones_like(output), retain_graph=True)
        output.sum().backward(inputs=[model[0].weight])
    controller.uninstall_hook()
    assert controller.compressor.report().passes > 1


def test_other_threads_keep_their_backward(model):
    controller = compat.Controller(model, min_bytes=0)
    controller.install_hook()
    thread = threading.Thread(target=lambda: nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward())
    thread.start()
    thread.join()
    calls = Loop(model)
    controller.iterate(calls.backprop)
    assert calls.calls == 1
    controller.uninstall_hook()


def test_an_error_in_the_closure_leaves_the_next_backward_in_order(model):
    controller = compat.Controller(model, min_bytes=0)
    controller.install_hook()
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        controller.iterate(lambda: model(torch.randn(64, 32)).backward())
    controller.iterate(lambda: None)
    loop = Loop(model)
    controller.iterate(loop.backprop)
    controller.uninstall_hook()
    assert loop.calls == 1


def test_the_interval_is_that_of_the_controller(model):
    compat.set_adapt_interval(7)
    assert "probe_interval=7" in repr(compat.Controller(model).compressor)
    with pytest.raises(ValueError, match="adapt_interval must be a whole number of at least 1, got 0"):
        compat.set_adapt_interval(0)


@pytest.mark.parametrize("level", ["L3", "swap", "L4bit-swap"])
def test_levels_that_offload_move_what_is_held(level):
    compat.set_optimization_level(level)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Tanh(), torch.nn.Linear(64, 8))
    controller = compat.Controller(model, min_bytes=0)
    controller.install_hook()
    loss = model(torch.randn(64, 32)).square().mean()
    assert controller.compressor.report().offloaded_bytes > 0
    loss.backward()
    controller.uninstall_hook()


@pytest.mark.parametrize("level", ["L5", "", None])
def test_unknown_levels_are_refused(level):
    with pytest.raises(ValueError, match=r"level must be one of L0, .*, L2.2, L3, swap, L4bit-swap, got"):
        compat.set_optimization_level(level)


def test_a_second_installation_is_refused(model):
    controller = compat.Controller(model)
    controller.install_hook()
    with pytest.raises(RuntimeError, match=r"the hook is installed already. Call uninstall_hook\(\) first"):
        controller.install_hook()
    with pytest.raises(RuntimeError, match="other saved-tensor hooks are active"):
        compat.Controller(model).install_hook()
    with pytest.warns(UserWarning, match="compressed nothing"):
        controller.uninstall_hook()
    controller.uninstall_hook()

"""Which hooks of users see the passes of a measurement, and how they know."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gact
from training import clone, compressor, gradient, passes, square, step, uniform


def network():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 8))


class Counter:
    """A hook that counts its calls, and those of measurements apart."""

    def __init__(self):
        self.own = self.measuring = 0

    def __call__(self, *_):
        if gact.is_measuring():
            self.measuring += 1
        else:
            self.own += 1


def on_leaf(model, hook):
    model[0].weight.register_hook(hook)


def on_module(model, hook):
    model[2].register_full_backward_hook(hook)


def before_module(model, hook):
    model[2].register_full_backward_pre_hook(hook)


def on_activation(model, hook):
    model[1].register_forward_hook(lambda module, inputs, output: output.register_hook(hook) and None)


def on_node(model, hook):
    model[1].register_forward_hook(lambda module, inputs, output: output.grad_fn.register_hook(hook) and None)


def after_accumulation(model, hook):
    model[0].weight.register_post_accumulate_grad_hook(hook)


SEES = {
    "leaf": (on_leaf, True),
    "module": (on_module, True),
    "module, before": (before_module, True),
    "activation": (on_activation, True),
    "node": (on_node, True),
    "accumulated": (after_accumulation, False),
}


@pytest.mark.parametrize(("register", "sees"), SEES.values(), ids=SEES)
def test_which_hooks_see_the_passes(register, sees):
    model, x, hook = network(), torch.randn(64, 32), Counter()
    c = compressor(model)
    register(model, hook)
    for _ in range(3):
        step(c, model, x)
    assert passes(c) > 1
    assert hook.own == 3
    assert hook.measuring == (passes(c) if sees else 0)
    assert not gact.is_measuring()


def test_a_hook_on_the_loss_is_told():
    model, x, hook = network(), torch.randn(64, 32), Counter()
    c = compressor(model)
    for _ in range(3):
        with c:
            loss = square(model, x)
        loss.register_hook(hook)
        c.backward(loss)
    assert (hook.own, hook.measuring) == (3, passes(c))


def test_a_hook_that_asks_counts_as_often_as_without():
    def train(c, model):
        seen = []
        model[2].register_full_backward_hook(
            lambda module, inputs, outputs: None if gact.is_measuring() else seen.append(float(outputs[0].norm()))
        )
        for _ in range(3):
            step(c, model, x)
        return seen

    model, x = network(), torch.randn(64, 32)
    twin = clone(model)
    assert len(train(compressor(model), model)) == len(train(uniform(twin), twin)) == 3


def test_hooks_that_change_the_gradient_do_so_in_a_measurement_too():
    def findings(scale):
        torch.manual_seed(0)
        model = network()
        model[2].register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * scale,))
        c = compressor(model)
        for _ in range(2):
            step(c, model, x)
        return {str(site): finding.noise[3] for site, finding in c._controller.findings.items()}

    x = torch.randn(64, 32)
    ordinary, stopped = findings(1.0), findings(0.0)
    first = next(site for site in ordinary if site.startswith("0"))
    assert ordinary[first] > 0
    assert stopped[first] == 0  # behind the hook no gradient is left that rounding could spoil


def test_outside_of_a_measurement_nobody_is_measuring():
    model, x, hook = network(), torch.randn(64, 32), Counter()
    on_leaf(model, hook)
    square(model, x).backward()
    assert (hook.own, hook.measuring) == (1, 0)


def test_a_pass_that_fails_is_over():
    def fail(_):
        if gact.is_measuring():
            raise LookupError("a measurement")

    model, x = network(), torch.randn(64, 32)
    c = compressor(model)
    model[0].weight.register_hook(fail)
    step(c, model, x)
    with pytest.warns(UserWarning, match="could not measure sensitivities.*LookupError: a measurement"):
        step(c, model, x)
    assert torch.isfinite(gradient(model)).all()


def test_hooks_inside_a_checkpoint_are_told():
    model, x, hook = network(), torch.randn(64, 32), Counter()
    on_activation(model, hook)
    c = compressor(model)
    for _ in range(2):
        step(c, model, x, lambda model, x: checkpoint(model, x, use_reentrant=False).square().mean())
    assert hook.own == 2
    assert hook.measuring == passes(c) > 1

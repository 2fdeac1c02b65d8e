"""A measurement changes nothing: neither random states nor buffers nor gradients nor how often a hook fires."""

import pytest
import torch
from torch import nn

from cases import NETWORKS, Network
from training import (
    Checkpointed,
    clone,
    compressor,
    gradient,
    passes,
    random_states,
    seed,
    square,
    step,
    uniform,
    widths,
)

ALL = {**NETWORKS, "checkpointed": Network(Checkpointed, lambda: torch.randn(16, 32))}


def measured_step(c, model, x):
    """The second step, after gradients and buffers were set to ones; what it left behind."""
    seed(1)
    step(c, model, x)
    for buffer in model.buffers():
        buffer.fill_(1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    loss = step(c, model, x)
    return loss, random_states(), [buffer.clone() for buffer in model.buffers()]


@pytest.mark.parametrize("network", ALL.values(), ids=ALL)
def test_the_step_is_that_of_finer_codes(network):
    model, x = network.build(), network.inputs()
    twin, c = clone(model), compressor(model)
    before = random_states()
    loss, states, buffers = measured_step(c, model, x)
    assert passes(c) > 1
    expected_loss, expected_states, expected_buffers = measured_step(uniform(twin), twin, x)
    assert states == expected_states != before
    assert torch.equal(loss, expected_loss)
    assert all(map(torch.equal, buffers, expected_buffers))
    assert torch.equal(gradient(model), gradient(twin))


def test_recomputed_batches_are_counted_as_without():
    model, x = Checkpointed(), torch.randn(16, 32)
    measured_step(compressor(model), model, x)
    assert int(model.body[1].num_batches_tracked) == 3  # from 1 on: in forward, and again in backward


def test_versions_of_buffers_are_restored():
    model, x = Checkpointed(), torch.randn(16, 32)
    c = compressor(model)
    step(c, model, x)
    with c:
        loss = square(model, x)
    versions = [buffer._version for buffer in model.buffers()]
    seen = []
    model.head.weight.register_hook(lambda _: seen.append([buffer._version for buffer in model.buffers()]))
    c.backward(loss)
    assert seen[0] == versions  # of the first pass of the measurement
    assert seen[-1] == versions  # of the step's own pass


def count_firings(model, x, c, **options):
    """How often each parameter's gradient was accumulated and its post-accumulate hook fired in the second step."""
    step(c, model, x)
    fired = []
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: fired.append(name))
        node = parameter.expand_as(parameter).grad_fn.next_functions[0][0]
        node.register_hook(lambda *_, name=name: fired.append(f"accumulated {name}"))
        fired.append(node)  # held: a node goes with its graph
    step(c, model, x)
    return sorted(each for each in fired if isinstance(each, str))


@pytest.mark.parametrize("network", ALL.values(), ids=ALL)
def test_gradients_are_accumulated_as_often_as_without(network):
    model, x = network.build(), network.inputs()
    twin, c = clone(model), compressor(model)
    assert count_firings(model, x, c) == count_firings(twin, x, uniform(twin))
    assert passes(c) > 1


def test_an_optimizer_in_backward_steps_once():
    model, x = NETWORKS["perceptron"].build().eval(), torch.randn(16, 32)
    twin = clone(model)
    for net, c in ((model, compressor(model)), (twin, uniform(twin))):
        step(c, net, x)
        for parameter in net.parameters():
            parameter.grad = None
            optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
            parameter.register_post_accumulate_grad_hook(lambda _, optimizer=optimizer: optimizer.step())
        step(c, net, x)
    assert all(map(torch.equal, model.parameters(), twin.parameters()))


def test_a_retained_gradient_is_collected_once():
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8)), torch.randn(64, 32)
    c = compressor(model)
    step(c, model, x)
    with c:
        hidden = model[:2](x)
        hidden.retain_grad()
        loss = model[2](hidden).square().mean()
    expected = torch.autograd.grad(loss, hidden, retain_graph=True)[0]
    hidden.grad = None
    c.backward(loss)
    assert passes(c) > 1
    assert torch.allclose(hidden.grad, expected)


def scaled(model, x, scale, c):
    for _ in range(2):
        with c:
            loss = square(model, x)
        c.backward(loss * scale)
    return c


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_scaled_loss_gives_the_same_widths(network):
    model, x = network.build().eval(), network.inputs()
    plain = scaled(model, x, 1.0, compressor(model, bits=3))
    large = scaled(model, x, 2.0**20, compressor(model, bits=3))
    assert widths(plain) == widths(large) != {}
    assert large._controller.noise == pytest.approx(plain._controller.noise, rel=1e-6)


def test_an_overflow_is_discarded_and_measured_again():
    model, x = NETWORKS["perceptron"].build().eval(), torch.randn(16, 32)
    c = compressor(model)
    step(c, model, x)
    with c:
        loss = square(model, x) * 1e38
    c.backward(loss * 1e38)
    assert widths(c) == {}
    assert not c._controller.failure
    step(c, model, x)
    assert len(widths(c)) > 1


def test_a_gradient_of_zero_tells_nothing():
    model, x = NETWORKS["perceptron"].build().eval(), torch.randn(16, 32)
    c = compressor(model)
    step(c, model, x)
    step(c, model, x, lambda model, x: square(model, x) * 0)
    assert widths(c) == {}
    step(c, model, x)
    assert len(widths(c)) > 1

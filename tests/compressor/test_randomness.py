"""Global generators are never touched; equal seeds round equally; different tensors, steps and seeds do not."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import gact
from cases import NETWORKS
from saved import activation, held, roundtrip, save


def states():
    name, keys, *rest = np.random.get_state()
    return random.getstate(), (name, keys.tolist(), *rest), torch.get_rng_state().tolist()


def test_no_global_generator_is_touched():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.ReLU(), nn.Linear(32, 8)), torch.randn(64, 32)
    before = states()
    c = gact.Compressor(model, min_bytes=0)
    for _ in range(3):
        with c:
            loss = model(x).square().mean()
        c.backward(loss)
    str(c.report()), c.report().to_json(), c.report().to_html(), c.load_state_dict(c.state_dict()), repr(c)
    assert states() == before


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_forward_draws_the_same_numbers(network):
    model, x = network.build(), network.inputs()
    torch.manual_seed(1)
    expected = model(x)
    after = torch.get_rng_state()
    model.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    with gact.Compressor(model, bits=1, min_bytes=0):
        output = model(x)
    assert torch.equal(output, expected)
    assert torch.equal(torch.get_rng_state(), after)
    output.sum().backward()
    assert torch.equal(torch.get_rng_state(), after)


def test_dropout_draws_the_same_masks():
    x = torch.ones(1000, requires_grad=True)
    gradients = []
    for context in (torch.enable_grad(), gact.Compressor(min_bytes=0)):
        torch.manual_seed(1)
        with context:
            output = nn.functional.dropout(x * 1, 0.3)
        gradients += torch.autograd.grad(output.sum(), x)
        assert torch.equal(output, gradients[-1])
    assert torch.equal(*gradients)


def gradient(seed, steps=1, bits=2, **options):
    torch.manual_seed(1)
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8)), torch.randn(64, 32)
    c = gact.Compressor(model, bits=bits, min_bytes=0, seed=seed, **options)
    for _ in range(steps):
        model.zero_grad()
        with c:
            loss = model(x).square().mean()
        c.backward(loss)
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_equal_seeds_give_equal_gradients():
    assert torch.equal(gradient(7, 3), gradient(7, 3))


@pytest.mark.parametrize("seeds", [(0, 1), (1, 2), (0, -1), (5, 5 + 2**40), (0, 2**63 - 1), (-(2**63), 0)], ids=str)
def test_different_seeds_give_different_gradients(seeds):
    assert not torch.equal(gradient(seeds[0]), gradient(seeds[1]))


def test_different_steps_give_different_gradients():
    assert not torch.equal(gradient(7, 1), gradient(7, 2))


def correlation(one, other):
    return torch.corrcoef(torch.stack([one.flatten().double(), other.flatten().double()]))[0, 1].item()


@pytest.mark.parametrize("shape", [(4096,), (64, 64)], ids=str)
def test_equal_tensors_at_two_places_are_rounded_independently(shape):
    x = torch.randn(shape)
    one, other = (got - x for got in roundtrip(gact.Compressor(bits=2, min_bytes=0), activation(x), activation(x)))
    # 4096 independent errors: a standard deviation of 1/64.
    assert abs(correlation(one, other)) < 5 / 64


def test_equal_tensors_in_two_steps_are_rounded_independently():
    x, c = torch.randn(4096), gact.Compressor(bits=2, min_bytes=0)
    errors = [roundtrip(c, activation(x)) - x for _ in range(6)]
    assert all(abs(correlation(errors[i], errors[j])) < 5 / 64 for i in range(6) for j in range(i))


def test_equal_tensors_under_two_seeds_are_rounded_independently():
    x = torch.randn(4096)
    errors = [roundtrip(gact.Compressor(bits=2, min_bytes=0, seed=seed), activation(x)) - x for seed in range(6)]
    assert all(abs(correlation(errors[i], errors[j])) < 5 / 64 for i in range(6) for j in range(i))


def test_groups_of_one_tensor_are_rounded_independently():
    x = torch.randn(256).repeat(16)
    error = (roundtrip(gact.Compressor(bits=2, min_bytes=0), activation(x)) - x).view(16, 256)
    correlations = torch.corrcoef(error.double()).fill_diagonal_(0)
    assert correlations.abs().max() < 5 / 16


def test_a_site_that_saves_many_tensors_in_one_step_rounds_each_anew():
    x, c = torch.randn(4096), gact.Compressor(bits=2, min_bytes=0)
    layer = nn.Tanh()
    with c:
        outputs = [layer((x.requires_grad_() * 1).clone()) for _ in range(4)]
    errors = [output.grad_fn._saved_result.detach() - output.detach() for output in outputs]
    assert all(abs(correlation(errors[i], errors[j])) < 5 / 64 for i in range(4) for j in range(i))


SCRIPT = """
import torch, gact
x = torch.linspace(-1, 1, 4096).sin().requires_grad_()
with gact.Compressor(bits=2, min_bytes=0, seed=3):
    output = (x * 1).tanh()
print(torch.autograd.grad(output.sum(), x)[0].double().sum().item().hex())
"""


def test_another_process_rounds_equally():
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    there = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    x = torch.linspace(-1, 1, 4096).sin().requires_grad_()
    with gact.Compressor(bits=2, min_bytes=0, seed=3):
        output = (x * 1).tanh()
    here = torch.autograd.grad(output.sum(), x)[0].double().sum().item().hex()
    assert there.stdout.strip() == here


def test_the_number_of_threads_does_not_change_the_rounding():
    x = torch.randn(300_000)
    one = roundtrip(gact.Compressor(bits=2, min_bytes=0), activation(x))
    torch.set_num_threads(2)
    try:
        two = roundtrip(gact.Compressor(bits=2, min_bytes=0), activation(x))
    finally:
        torch.set_num_threads(1)
    assert torch.equal(one, two)


def test_what_others_save_does_not_change_a_tensors_rounding_in_the_first_step():
    x, y = torch.randn(4096), torch.randn(4096)
    model = nn.ModuleDict({"first": nn.Tanh(), "second": nn.Sigmoid()})

    def error(with_first):
        with gact.Compressor(model, bits=2, min_bytes=0):
            kept = model["first"](y.requires_grad_() * 1) if with_first else None
            output = model["second"](x.requires_grad_() * 1)
        return output.grad_fn._saved_result.detach(), kept

    assert torch.equal(error(True)[0], error(False)[0])


def test_unpacking_is_the_same_every_time():
    x = torch.randn(4096)
    with gact.Compressor(bits=1, min_bytes=0):
        output = save(x)
    assert torch.equal(held(output)[0], held(output)[0])


def test_measuring_does_not_load_the_random_numbers_of_numpy():
    """They load when they are first used, under a lock that a fork beside another thread would copy held."""
    script = """
import sys, torch, gact
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 64))
compressor = gact.Compressor(model, bits=4, min_bytes=0)
for _ in range(3):
    with compressor:
        loss = model(torch.randn(64, 64)).square().mean()
    loss.backward()
assert compressor.report().passes > 0
assert "numpy.random" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)

"""The measuring itself: what is right passes, and what is wrong is found."""

from contextlib import nullcontext

import pytest
import torch
from kinds import mlp
from measure import (
    LIMIT,
    broken,
    compressor,
    flat,
    identity,
    kind_fault,
    kind_faults,
    mean_fault,
    network_gradient,
    noise_fault,
    off,
    reference,
    same,
)
from torch.autograd.graph import saved_tensors_hooks

G0 = torch.linspace(-1, 1, 200, dtype=torch.float64)


def rounding(step, shift=0.0):
    """Gradients of seeds, rounded to multiples of ``step``, whichever is likelier the nearer; ``shift`` is the bias."""

    def of(seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.floor(G0 / step + torch.rand(200, generator=generator, dtype=torch.float64)) * step + shift

    return of


@pytest.mark.parametrize("step", [1e-3, 0.1, 1.0, 30.0])
def test_unbiased_rounding_passes(step):
    assert mean_fault(rounding(step), G0) == ""


@pytest.mark.parametrize("step", [1e-2, 0.1, 1.0])
def test_bias_of_a_third_of_a_step_is_found(step):
    assert "standard errors" in mean_fault(rounding(step, step / 3), G0)


def test_rounding_to_nearest_is_found():
    assert "standard errors" in mean_fault(lambda seed: (G0 / 0.3).round() * 0.3 + 1e-9 * seed, G0)


def test_rare_events_are_waited_for():
    """One element, rounded up in one seed of 50: not in the first 32."""

    def of(seed):
        return torch.tensor([50.0 if seed % 50 == 40 else 0.0, 0.0], dtype=torch.float64) + 1e-9 * seed

    assert mean_fault(of, torch.tensor([1.0, 0.0], dtype=torch.float64)) == ""


def test_equal_gradients_take_two_seeds():
    seeds = []
    assert mean_fault(lambda seed: seeds.append(seed) or G0.clone(), G0) == ""
    assert seeds == [0, 1]


def test_what_is_not_finite_is_found():
    g, undefined = G0.clone(), G0.clone()
    g[3], undefined[3] = torch.nan, torch.inf
    assert "1 of 200" in noise_fault(g, G0, 1.0)
    assert "1 of 200" in mean_fault(lambda seed: g, G0)
    assert "1 of 200" in kind_fault(lambda: g, G0, 8)
    assert broken(g, undefined) == ""
    assert off(g, undefined) == 0
    assert "elements instead" in broken(g[1:], G0)


@pytest.mark.parametrize("bits", LIMIT)
def test_noise_of_kinds_is_bounded(bits):
    allowed = LIMIT[bits] ** 0.5
    generator = torch.Generator().manual_seed(0)

    def noisy(size):
        noise = torch.randn(200, generator=generator, dtype=torch.float64)
        return G0 + noise * size * G0.norm() / 200**0.5

    assert kind_fault(lambda: noisy(0.8 * allowed), G0, bits) == ""
    assert "allowed" in kind_fault(lambda: noisy(1.3 * allowed), G0, bits)
    assert bits == 8 or "mean of 64" in kind_fault(lambda: noisy(0.01) + 0.1 * G0, G0, bits)


def test_hooks_that_change_nothing_pass_and_others_do_not():
    torch.manual_seed(0)
    model, x = mlp(32, 64, 8), torch.randn(64, 32)
    gradient = network_gradient(model, lambda: model(x).square().mean())
    g0, fault = reference(gradient)
    assert not fault
    assert same(gradient(identity()), g0)
    assert not same(gradient(saved_tensors_hooks(lambda t: t.detach() * 1.01, lambda t: t)), g0)
    assert noise_fault(gradient(saved_tensors_hooks(lambda t: t.detach() * 2, lambda t: t)), g0, 0.04)


def test_gradients_that_depend_on_the_run_are_refused():
    torch.manual_seed(0)
    model, x, runs = mlp(32, 64, 8), torch.randn(64, 32), []
    faults = kind_faults(model, lambda: runs.append(0) or model(x * len(runs)).square().mean())
    assert faults == ["harness: two plain runs differ"]


def test_buffers_and_random_numbers_are_the_same_in_every_run():
    torch.manual_seed(0)
    model, x = mlp(32, 64, 8), torch.randn(64, 32)
    model = torch.nn.Sequential(
        torch.nn.utils.parametrizations.spectral_norm(model[0]), torch.nn.Dropout(0.5), model[2]
    )
    gradient = network_gradient(model, lambda: model(x).square().mean())
    first = gradient(nullcontext())
    assert first.norm() > 0
    assert same(gradient(nullcontext()), first)


def test_something_is_compressed():
    """At 2 bits a linear layer's weight gradient does not come out as plain autograd's."""
    torch.manual_seed(0)
    model, x = mlp(32, 64, 8, act=torch.nn.Tanh), torch.randn(64, 32)
    gradient = network_gradient(model, lambda: model(x).square().mean())
    assert off(gradient(compressor(model, 2)), gradient(nullcontext())) > 1e-6


def test_complex_and_missing_gradients():
    assert torch.equal(flat([torch.tensor([1 + 2j]), None, torch.eye(1)]), torch.tensor([1.0, 2, 1]).double())

"""What makes a gradient right: how far a compressed step may be from plain autograd, and how its mean is tested.

Everything here takes a function ``gradient(context)`` that runs one step, forward inside ``context``, and returns all
its gradients as one float64 vector: of the same weights, data and random numbers each time. ``g0`` is what it returns
without compression. Elements that are not finite in ``g0`` are left out; all others must be finite.

**Noise.** ``off`` is |g - g0|^2 / |g0|^2. Operators and modules may be off by a fifth at 8 bits (``FIFTH``); the
kinds of networks and losses are held to ``LIMIT``.

**Mean of operators.** g_1 ... g_n are the gradients of n seeds, m is their mean and V the sum over elements of their
sample variances. If the roundings are unbiased, E|m - g0|^2 = V / n whatever their distribution and however elements
depend on each other, so |m - g0| must be at most 4 sqrt(V / n), plus what float32 rounds (``ROUNDING`` times |g0|).
Normal noise passes that by chance in a case of 10^4 if it has one dimension, and practically never if it has many.
Noise need not be normal: a value that lies a hundredth of a step above a code is rounded up in one seed of a hundred;
if none of 32 seeds did so, V is too small. A mean that fails is therefore taken once more, over 256 seeds, and that
one decides: an unbiased rounding then fails only if all that varies is rarer than one event in a hundred.
If two seeds give ``g0`` to the bit, nothing is rounded that backward reads, and no more seeds are taken.

**Mean of kinds.** The mean of 16 steps must be at least three times nearer to g0, in squares, than one step is (a
sixteenth is to be expected), unless one step is off by less than 1e-4. Where it is not, 64 steps decide: noise of
one or two dimensions misses by chance with 16. At 2 bits nothing else is asked.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

import gact

LIMIT = {8: 3e-3, 4: 1.5e-1}
ROUNDS = {8: 2, 4: 16, 2: 16}
FIFTH = 0.2**2
SEEDS, MORE_SEEDS = 32, 256
ROUNDING = 64 * torch.finfo(torch.float32).eps

Gradient = Callable[[AbstractContextManager], Tensor]


def compressor(model: nn.Module | None, bits: int, seed: int = 0) -> gact.Compressor:
    """Compresses all that is saved, at one width."""
    return gact.Compressor(model, bits=bits, adaptive=False, min_bytes=0, seed=seed)


def identity() -> AbstractContextManager:
    """Saved-tensor hooks that change nothing: whatever is tested here must find nothing wrong with them."""
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor)


def flat(gradients: Iterable[Tensor | None]) -> Tensor:
    """All gradients as one vector; None leaves no trace."""
    parts = [torch.zeros(0, dtype=torch.float64)]
    for gradient in gradients:
        if gradient is not None:
            dense = gradient.detach().to_dense()
            parts.append((torch.view_as_real(dense) if dense.is_complex() else dense).flatten().double())
    return torch.cat(parts)


def off(g: Tensor, g0: Tensor) -> float:
    """|g - g0|^2 / |g0|^2, where g0 is finite."""
    there = g0.isfinite()
    return float((g - g0)[there].square().sum() / g0[there].square().sum().clamp_min(1e-300))


def broken(g: Tensor, g0: Tensor) -> str:
    """What makes a comparison senseless: other shapes, or values that are not finite where plain autograd's are."""
    if g.shape != g0.shape:
        return f"{g.numel()} elements instead of {g0.numel()}"
    wrong = int((~g.isfinite() & g0.isfinite()).sum())
    return f"{wrong} of {g.numel()} elements not finite" if wrong else ""


def same(g: Tensor, g0: Tensor) -> bool:
    """Whether both are equal to the bit, NaN being equal to NaN."""
    return g.shape == g0.shape and bool(((g == g0) | (g.isnan() & g0.isnan())).all())


def reference(gradient: Gradient) -> tuple[Tensor, str]:
    """Plain autograd's gradient, and what is wrong with measuring against it: it must not depend on the run."""
    g0 = gradient(nullcontext())
    if not same(gradient(nullcontext()), g0):
        return g0, "harness: two plain runs differ"
    if not same(gradient(identity()), g0):
        return g0, "harness: hooks that change nothing change the gradient"
    return g0, ""


def noise_fault(g: Tensor, g0: Tensor, limit: float) -> str:
    """What is wrong with one gradient."""
    return broken(g, g0) or (f"off by {off(g, g0) ** 0.5:.2g}" if off(g, g0) > limit else "")


def mean_fault(step: Callable[[int], Tensor], g0: Tensor, first: int = SEEDS, last: int = MORE_SEEDS) -> str:
    """What is wrong with the mean over seeds.

    Args:
        step: Returns the gradient of a seed.
        g0: Plain autograd's gradient.
        first: Seeds that are taken if two of them differ.
        last: Seeds that are taken if the mean of those fails.
    """
    there, found = g0.isfinite(), []
    for seeds in (2, first, last):
        for seed in range(len(found), seeds):
            found.append(step(seed))
            if broken(found[-1], g0):
                return broken(found[-1], g0)
        if seeds == 2:
            if all(same(g, g0) for g in found):
                return ""
            continue
        difference = torch.stack(found)[:, there] - g0[there]
        error, expected = float(difference.mean(0).norm()), float(difference.var(0).sum() / seeds) ** 0.5
        if error <= 4 * expected + ROUNDING * float(g0[there].norm()):
            return ""
    size = error / float(g0[there].norm().clamp_min(1e-300))
    return f"mean of {seeds} off by {error / max(expected, 1e-300):.2g} standard errors, {size:.1g} of the gradient"


def kind_fault(step: Callable[[], Tensor], g0: Tensor, bits: int) -> str:
    """What is wrong with the steps of one compressor, by ``LIMIT`` and the rule for the mean of kinds."""
    found: list[Tensor] = []
    for rounds in (ROUNDS[bits], 4 * ROUNDS[bits]):
        while len(found) < rounds:
            found.append(step())
            if broken(found[-1], g0):
                return broken(found[-1], g0)
        one = sum(off(g, g0) for g in found) / rounds
        if bits in LIMIT and one > LIMIT[bits]:
            return f"off by {one:.1e}, allowed {LIMIT[bits]:.1e}"
        mean = off(torch.stack(found).mean(0), g0)
        if bits == 8 or one < 1e-4 or mean <= one / 3:
            return ""
    return f"off by {one:.1e}, mean of {rounds} by {mean:.1e}"


def network_gradient(model: nn.Module, loss: Callable[[], Tensor]) -> Gradient:
    """The gradient of a network's loss; buffers and random numbers are the same in every run."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]

    def gradient(context: AbstractContextManager) -> Tensor:
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, first in buffers:
                buffer.copy_(first)
        torch.default_generator.manual_seed(7)
        with context:
            value = loss()
        value.backward()
        return flat(parameter.grad for parameter in model.parameters())

    return gradient


def kind_faults(model: nn.Module, loss: Callable[[], Tensor], widths: Iterable[int] = (8, 4, 2)) -> list[str]:
    """What is wrong with a network's gradient at each width."""
    gradient = network_gradient(model, loss)
    g0, fault = reference(gradient)
    if fault:
        return [fault]
    assert g0.isfinite().all()
    assert g0.norm() > 0
    faults = []
    for bits in widths:
        context = compressor(model, bits)
        if fault := kind_fault(lambda context=context: gradient(context), g0, bits):
            faults.append(f"{bits} bits: {fault}")
    return faults

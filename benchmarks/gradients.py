"""What compression does to one network: bytes kept for backward, noise of the gradient, share of bytes covered."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import gact

from .kept import Reachable
from .networks import Built

WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of some compressed steps on the same batch.

    Attributes:
        kept_bytes: Held between forward and backward.
        noise: Of each gradient, |g - g0|^2 / |g0|^2 with g0 of plain autograd: relative variance plus squared bias.
        cosine: Of each gradient and plain autograd's.
        coverage: Percentage of the float bytes saved that are in a code or rebuilt; see ``float_coverage``.
    """

    kept_bytes: int
    noise: list[float]
    cosine: list[float]
    coverage: float


def exact_gradient(built: Built) -> Tensor:
    """The gradient of plain autograd."""
    take_step(built)
    gradient = built.gradient()
    built.model.zero_grad(set_to_none=True)
    return gradient


def take_step(built: Built, compressor: gact.Compressor | None = None) -> None:
    """Leaves the gradient of one step with the parameters.

    Args:
        built: The network.
        compressor: What compresses the step, if anything does.
    """
    built.model.zero_grad(set_to_none=True)
    if compressor is None:
        built.loss().backward()
        return
    with compressor:
        loss = built.loss()
    compressor.backward(loss)


def measure(built: Built, compressor: gact.Compressor, exact: Tensor, gradients: int) -> Measured:
    """Run compressed steps and compare each gradient with the exact one.

    Args:
        built: The network.
        compressor: Made for its model and not used before.
        exact: Its ``exact_gradient``.
        gradients: Steps to compare; two more come before them.
    """
    noise, cosine, kept, coverage = [], [], 0, 0.0
    reachable = Reachable(built.model)
    for step in range(WARM_UP + gradients):
        built.model.zero_grad(set_to_none=True)
        with compressor:
            loss = built.loss()
        if step == WARM_UP:
            report = compressor.report()
            kept, coverage = max(reachable.nbytes(), report.kept_bytes), float_coverage(report)
        compressor.backward(loss)
        if step >= WARM_UP:
            gradient = built.gradient()
            noise.append(float((gradient - exact).square().sum() / exact.square().sum()))
            cosine.append(float(torch.nn.functional.cosine_similarity(gradient, exact, dim=0)))
    built.model.zero_grad(set_to_none=True)
    return Measured(kept, noise, cosine, coverage)


def float_coverage(report: gact.Report) -> float:
    """Percentage of the float bytes saved that are held in a code or rebuilt instead of being left as they are.

    Plain bytes count, each storage once, without parameters and buffers. A report does not say which of the tensors
    that were left alone are integers, so small integer tensors count as floats left alone.
    """
    floats = [row for row in report.rows if row.codec != "integers"]
    total = sum(row.plain_bytes for row in floats)
    return 100.0 * sum(row.plain_bytes for row in floats if row.codec != "keep") / total if total else 0.0

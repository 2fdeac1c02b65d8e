"""The noise of one architecture's gradients at some widths and bits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import gact

from ..gradients import float_coverage, take_step
from ..networks import Built
from .building import CannotBuildError, build
from .catalogue import Architecture, family_of

REPEATABLE = 1e-10
MIN_BYTES = 4096
SEEDS = 3
LEAST_SHARE = 1e-6
"""Share of the gradient's square that a parameter must have to be looked at by itself."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured of an architecture at one width, at some bits or not at all.

    Attributes:
        width: Size of the hidden states.
        bits: Of the codes; 0 where the figures could not be taken at any.
        noise: Mean of |g - g0|^2 / |g0|^2 over the seeds; infinite where a gradient is not finite or a step raises.
        worst: The largest of the same for each parameter by itself, parameters with next to no gradient left out.
        parameter: Whose that is.
        ratio: Bytes that plain autograd keeps / bytes kept.
        coverage: Percentage of the float bytes saved that are in a code or rebuilt.
        family: What the architecture takes and gives.
        loss: Whose loss it is: ``"own"`` or ``"outputs"``.
        reason: Why there are no figures, or what a step raised.
    """

    width: int
    bits: int = 0
    noise: float = 0.0
    worst: float = 0.0
    parameter: str = ""
    ratio: float = 0.0
    coverage: float = 0.0
    family: str = ""
    loss: str = ""
    reason: str = ""


def measure(architecture: Architecture, widths: Sequence[int], bits: Sequence[int]) -> Iterator[Found]:
    """Figures of one architecture, one after the other.

    Args:
        architecture: Its entry of the catalogue.
        widths: Sizes of the hidden states.
        bits: Of the codes.
    """
    for width in widths:
        try:
            built, loss = build(architecture, width)
            exact = _exact(built)
        except CannotBuildError as error:
            yield Found(width, reason=str(error))
            continue
        family = family_of(architecture, built.model)
        for each in bits:
            yield replace(_figures(built, exact, each), width=width, family=family, loss=loss)


def gradient(built: Built, compressor: gact.Compressor | None = None) -> Tensor:
    """The gradient of one step in one float64 vector.

    Args:
        built: The network.
        compressor: What compresses the step, if anything does.
    """
    take_step(built, compressor)
    return built.gradient()


def _exact(built: Built) -> Tensor:
    """The gradient of plain autograd, which must be the same twice."""
    try:
        first, second = gradient(built), gradient(built)
    except Exception as error:
        raise CannotBuildError(f"plain backward: {type(error).__name__}: {error}") from error
    size = float(first.square().sum())
    if not torch.isfinite(first).all():
        raise CannotBuildError("plain gradient is not finite")
    if size == 0.0:
        raise CannotBuildError("plain gradient is zero")
    difference = float((first - second).square().sum()) / size if first.shape == second.shape else float("inf")
    if not difference < REPEATABLE:
        raise CannotBuildError(f"not repeatable: two plain gradients differ by {difference:.1e} of their square")
    return first


def _figures(built: Built, exact: Tensor, bits: int) -> Found:
    """What compressed steps of all seeds give, or what went wrong; the width and what it is stay open."""
    errors: list[Tensor] = []
    report = None
    for seed in range(SEEDS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compressor = gact.Compressor(built.model, bits=bits, adaptive=False, min_bytes=MIN_BYTES, seed=seed)
                got = gradient(built, compressor)
            report = compressor.report()
        except Exception as error:
            return _failed(bits, report, f"{type(error).__name__}: {error}")
        if got.shape != exact.shape:
            return _failed(bits, report, f"gradients of {got.numel()} elements instead of {exact.numel()}")
        if not torch.isfinite(got).all():
            return _failed(bits, report, "the gradient is not finite")
        errors.append((got - exact).square())
    error, size = torch.stack(errors).mean(dim=0), exact.square()
    worst, parameter = _worst(built, error, size)
    return Found(
        0, bits, float(error.sum() / size.sum()), worst, parameter, report.ratio if report else 0.0, _coverage(report)
    )


def _worst(built: Built, error: Tensor, size: Tensor) -> tuple[float, str]:
    """The largest noise of a parameter, and its name."""
    named = [(name, each.numel()) for name, each in built.model.named_parameters() if each.grad is not None]
    counts = [count for _, count in named]
    least = LEAST_SHARE * float(size.sum())
    found = [
        (float(wrong.sum() / whole.sum()), name)
        for (name, _), wrong, whole in zip(named, error.split(counts), size.split(counts), strict=True)
        if whole.sum() > least
    ]
    return max(found)


def _failed(bits: int, report: gact.Report | None, reason: str) -> Found:
    infinite = float("inf")
    return Found(0, bits, infinite, infinite, "", report.ratio if report else 0.0, _coverage(report), reason=reason)


def _coverage(report: gact.Report | None) -> float:
    return float_coverage(report) if report else 0.0

"""A test of one second that the kernels and the hooks do what they promise on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..compressor import Compressor
from ..ops.reference import groups as reference
from ..quantized import quantize

GRADIENT_NOISE = 1e-3
"""Most that |g - g0|^2 / |g0|^2 may be at 8 bits in ``gradient``; about 2e-5 is usual."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check's outcome.

    Attributes:
        name: What was checked.
        passed: Whether it holds.
        detail: The measured figures, or the error.
    """

    name: str
    passed: bool
    detail: str


def run_checks() -> list[Check]:
    """Run all checks; an exception in one is its failure."""
    return [_run(name, check) for name, check in CHECKS.items()]


def _run(name: str, check: Callable[[], tuple[bool, str]]) -> Check:
    try:
        return Check(name, *check())
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {error}")


def _sample(numel: int) -> Tensor:
    return torch.randn(numel, generator=torch.Generator().manual_seed(0))


def error_bound() -> tuple[bool, str]:
    """No element is off by more than its group's scale: half of it with nearest rounding."""
    x, worst = _sample(100_003), 0.0
    for bits in range(1, 9):
        for rounding, allowed in (("stochastic", 1.0), ("nearest", 0.5)):
            code = quantize(x, bits, rounding=rounding)  # type: ignore[arg-type]
            scale = code.scale.float().repeat_interleave(code.group_size)[: x.numel()]
            worst = max(worst, ((code.dequantize() - x).abs() / scale).max().item() / allowed)
    return worst < 1.001, f"largest error {worst:.3f} of what is allowed, widths 1 to 8"


def reference_agreement() -> tuple[bool, str]:
    """The active kernels give the codes of plain torch, bit for bit."""
    x = _sample(10_007)
    for bits in range(1, 9):
        codes, metadata = torch.ops.gact.quantize(x, bits, 256, 7, True)
        expected, fields = reference.quantize(x, bits, 256, 7, True)
        if not torch.equal(codes, expected) or not torch.equal(metadata, fields):
            return False, f"codes of {bits} bits differ"
    return True, "equal codes, widths 1 to 8"


def exact_codes() -> tuple[bool, str]:
    """Signs and integers come back as they were."""
    x = _sample(10_007)
    positive = torch.empty_like(x, dtype=torch.bool)
    torch.ops.gact.decode_mask_into(positive, torch.ops.gact.encode_mask(x, 0.0, float("inf")), 0.0, 1.0)
    if not torch.equal(positive, x > 0):
        return False, "signs differ"
    indices = torch.arange(10_007) % 200 - 50
    back = torch.empty_like(indices)
    torch.ops.gact.decode_integers_into(back, torch.ops.gact.encode_integers(indices, -50, 8), -50, 8)
    equal = torch.equal(back, indices)
    return equal, "signs and integers, equal" if equal else "integers differ"


def gradient() -> tuple[bool, str]:
    """A compressed training step keeps less and has nearly the gradient of a plain one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 10))
    inputs, labels = _sample(512 * 64).view(512, 64), torch.arange(512) % 10
    F.cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
    plain = _gradient(model)
    compressor = Compressor(model, bits=8, adaptive=False)
    with compressor:
        loss = F.cross_entropy(model(inputs), labels)
    report = compressor.report()
    compressor.backward(loss)
    noise = ((_gradient(model) - plain).norm() / plain.norm()).square().item()
    passed = noise < GRADIENT_NOISE and report.ratio > 2
    return passed, f"gradient noise {noise:.1e} at 8 bits, {report.ratio:.1f}x fewer bytes kept"


def _gradient(model: nn.Module) -> Tensor:
    """All gradients as one vector; they are cleared."""
    vector = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    model.zero_grad()
    return vector


CHECKS: dict[str, Callable[[], tuple[bool, str]]] = {
    "error bound of the codes": error_bound,
    "agreement with plain torch": reference_agreement,
    "exact codes": exact_codes,
    "compressed training step": gradient,
}

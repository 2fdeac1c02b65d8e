"""What is not as a user would want it, and what to do about it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from ..precision.findings import ROUNDING
from ..precision.known import Known
from ..text import mebibytes
from .rows import Figures, Row

_COVERED, _NOTABLE, _GAIN = 50.0, 0.2, 0.1
_FITS = 2
"""Training would fit plainly if so many times what plain autograd keeps is free."""


class Advice(NamedTuple):
    """One thing to know.

    Attributes:
        code: ``"coverage"``, ``"small"``, ``"budget"``, ``"noise"``, ``"peak"``, ``"recurrent"``, ``"compiled"`` or
            ``"unmeasured"``.
        text: What is so, with figures.
        remedy: What to do.
    """

    code: str
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text} {self.remedy}"


def advice_on(report: Figures, known: Known, model: nn.Module | None) -> tuple[Advice, ...]:
    """What is to be said of a step.

    Args:
        report: Its figures.
        known: What is known of the widths.
        model: The network, whose parameters take memory too.
    """
    if not report.plain_bytes:
        return ()
    return (*_left_alone(report), *_asked(report, known), *_gain(report, model))


def _left_alone(report: Figures) -> Iterator[Advice]:
    """Bytes that are held as they were."""
    kept: dict[str, int] = {}
    fused = {_call(row) for row in report.rows if row.reason == _RECURRENT}  # its workspace has another reason
    for row in report.rows:
        if row.codec == "keep":
            reason = _RECURRENT if _call(row) in fused else row.reason
            kept[reason] = kept.get(reason, 0) + row.plain_bytes
    whole = report.plain_bytes
    if report.coverage < _COVERED:
        most = sorted(kept.items(), key=lambda item: -item[1])[:3]
        told = ", ".join(f"{mebibytes(size)} MiB {reason}" for reason, size in most)
        yield Advice(
            "coverage",
            f"{100 - report.coverage:.0f} % of the bytes are held as they were: {told}.",
            "report() names the places; docs/consumers.md says what each reason means.",
        )
    for code, reason, remedy in _REMEDIES:
        if kept.get(reason, 0) > _NOTABLE * whole:
            text = f"{mebibytes(kept[reason])} of {mebibytes(whole)} MiB are {_WORDS[reason]}."
            yield Advice(code, text, _run_again(fused) + remedy if reason == _RECURRENT else remedy)


def _run_again(calls: Iterable[tuple[str, str, int]]) -> str:
    """How modules that saved something may be run again instead; empty if one of them is the model."""
    names = sorted({re.sub(r"\d+", "*", module) for module, _, _ in calls})
    told = ", ".join(f'"{name}"' for name in names)
    return f"checkpoint=[{told}] runs the kernel again at backward and holds its input alone. " if all(names) else ""


_RECURRENT, _COMPILED, _SMALL = "recurrent kernel", "compiled", "small"
_WORDS = {
    _SMALL: "in tensors under min_bytes, which are left alone",
    _RECURRENT: "in the buffers of a fused recurrent kernel, in a layout of its own",
    _COMPILED: "saved by compiled code, and nothing tells what its backward does with them",
}
_REMEDIES = (
    ("small", _SMALL, "Pass a smaller min_bytes, or a larger batch."),
    ("recurrent", _RECURRENT, "On a CPU, torch.backends.mkldnn.flags(enabled=False) has it save plain tensors."),
    ("compiled", _COMPILED, 'Pass rules=[gact.Rule(op="compiled", bits=8)], or do not compile.'),
)


def _call(row: Row) -> tuple[str, str, int]:
    return row.module, row.op, row.call


def _asked(report: Figures, known: Known) -> Iterator[Advice]:
    """What was asked for and is not reached."""
    if report.unmeasured:
        yield Advice(
            "unmeasured",
            f"sensitivities are not measured, so widths stay as they are and no budget but bits holds: "
            f"{report.unmeasured}",
            "docs/training.md says where measuring is possible.",
        )
    reach = known.reach
    if reach is not None and reach.is_missed:
        yield Advice(
            "budget",
            f"{mebibytes(reach.asked)} MiB were asked for and {mebibytes(reach.held)} MiB are held "
            f"({reach.ratio:.3g}x smaller), {mebibytes(reach.totals.fixed)} MiB of them otherwise than in codes whose "
            "width can be chosen.",
            "Ask for less, or for more noise." if reach.by_noise else "Ask for less.",
        )
    elif reach is not None and not report.measured and _falls_short(report, known.settings.ratio):
        yield Advice(
            "budget",
            f"this step is held {report.ratio:.3g}x smaller, and {known.settings.ratio:g}x was asked for: widths are "
            f"those for a step that keeps {mebibytes(reach.totals.plain)} MiB plainly, and this one keeps "
            f"{mebibytes(report.plain_bytes)}.",
            "Steps of several kinds share one budget; memory= holds for the largest.",
        )
    if known.is_noisy:
        share = "" if report.noise_ratio is None else f", {report.noise_ratio:.2g} of the variance from batch to batch"
        yield Advice(
            "noise",
            f"gradient noise of {report.noise:.2g} is predicted{share}: training may suffer.",
            "Ask for more bits or bytes, or compare a short run with a plain one.",
        )


def _falls_short(report: Figures, ratio: float | None) -> bool:
    """Whether a step is not held as many times smaller as was asked for."""
    return ratio is not None and report.kept_bytes * ratio > ROUNDING * report.plain_bytes


def _gain(report: Figures, model: nn.Module | None) -> Iterator[Advice]:
    """Whether anything is gained at all."""
    if model is None:
        return
    fixed = 0
    for parameter in model.parameters():
        local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
        fixed += local.nbytes * (1 + parameter.requires_grad)
    saved = report.plain_bytes - report.kept_bytes
    if saved >= _GAIN * (fixed + report.plain_bytes):
        return
    free = _free_bytes(model)
    fits = free is not None and free > _FITS * report.plain_bytes
    beside = f" Training would fit without gact: {mebibytes(free)} MiB are free." if fits and free is not None else ""
    gain = f"{mebibytes(saved)} MiB are saved" if saved >= 0 else f"gact holds {mebibytes(-saved)} MiB more than plain"
    peak = "hardly lower" if saved >= 0 else "not lower"
    yield Advice(
        "peak",
        f"{gain} where weights and their gradients take {mebibytes(fixed)} MiB: the peak is {peak}.{beside}",
        "Train without gact, or with a larger batch." if fits else "Take a larger batch, or shard or freeze weights.",
    )


def _free_bytes(model: nn.Module) -> int | None:
    """Memory that is free where a network is; None if that is not known."""
    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) if device.type == "cpu" else None
    except (AttributeError, ValueError, OSError):  # not every system tells
        return None

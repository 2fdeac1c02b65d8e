"""What a trainer is asked for, and what its training gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

import gact

BITS = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """How to train.

    Attributes:
        seed: Of weights, order of the data and dropout.
        compressed: Whether with the one line.
        folder: Where checkpoints go.
        tiny: Small sizes and few steps, to see that it runs.
        stop: Whether to save and stop after half of the steps, as somebody who means to go on does.
        resume: Whether to go on from what was saved there.
    """

    seed: int
    compressed: bool
    folder: Path
    tiny: bool = False
    stop: bool = False
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training gave.

    Attributes:
        losses: Of each step that was made.
        parameters: In the end, by name.
        report: Of the compressor, on the last step; None without.
    """

    losses: Sequence[float]
    parameters: Mapping[str, Tensor]
    report: gact.Report | None


def trained(losses: Sequence[float], model: nn.Module, compressor: gact.Compressor | None) -> Trained:
    """The record of a training that has ended.

    Args:
        losses: Of each step.
        model: What was trained.
        compressor: What it was trained with, if with one.
    """
    parameters = {name: each.detach().clone() for name, each in model.named_parameters()}
    return Trained(losses, parameters, None if compressor is None else compressor.report())

"""How far rounded values are off to expect, element by element, where a code has steps of its own for all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from .groups import Groups
from .layout import Layout
from .probabilities import Probabilities
from .slopes import Slope
from .transformed import Transformed

VARIANCE = 17 / 192
"""Of the error of a dithered element, in squared steps; on average over where it lies between two levels."""
_STOCHASTIC = 1 / 6


def deviations(steps: Tensor, value: Tensor | None) -> Tensor:
    """The deviation of each element of what a code gives, or of its slope.

    What is small beside the step is zero in most roundings, and in a few it is a whole step: one of them tells nothing.

    Args:
        steps: What ``steps_of`` gives, or a part of it.
        value: What it is the code of, or the slope of that in a code of slopes; None if that is gone.
    """
    size = steps.abs()
    squares = size.square().mul_(VARIANCE)
    if value is not None:
        few = torch.minimum(value.abs().float(), size * _STOCHASTIC).mul_(size)
        squares = torch.where(steps < 0, squares, few)
    return squares.sqrt_()


def steps_of(code: Groups, layout: Layout) -> Tensor | None:
    """The step of each element, negative where it is dithered; None of codes with a curve or boxes.

    Args:
        code: The code.
        layout: In which it is read.
    """
    factors = None
    if isinstance(code, Transformed):
        lines = code.lines()
        if not lines and not isinstance(code.transform, (Probabilities, Slope)):
            return None
        if len(lines) > 1:
            return None
        factors = lines[0] if lines else None
    numel = layout.dense.numel()
    flat = code.metadata[:, 1].float().repeat_interleave(code.group_size)[:numel]
    if factors is not None:
        table, inner = factors
        channels = table[0].abs().repeat_interleave(inner)
        flat = flat * channels.repeat(-(-numel // channels.numel()))[:numel]
    return layout.restore(flat.as_strided(layout.dense, layout.region_stride))

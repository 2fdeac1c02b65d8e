"""What the allocation makes least: the noise of the gradient, or of the update that an optimizer makes of it.

NOTE: Optimizers that scale each parameter by itself
Plain gradient descent moves parameters by the gradient: what rounding does to training is the noise of the whole
gradient. Adam and its kin divide each parameter's gradient by its own size, so that noise in a weight of small
gradients moves it as far as noise in one of large gradients. For them half of the weight of a parameter tensor is by
the noise of the whole gradient, and half by the noise in its own, in proportion to its elements. Either alone did worse
in the trainings of ``docs/accuracy.md`` that use such an optimizer.
"""

from __future__ import annotations

import torch
from torch import Tensor

OBJECTIVES = ("gradient", "update")
_LEAST = 1e-12
"""Leaves with less than this share of the gradient's energy count as if they had it."""


def weights(objective: str, energy: Tensor, numel: Tensor) -> Tensor:
    """How much |g - g0|^2 of each leaf counts, for the gradient's noise and for the objective.

    Args:
        objective: One of ``OBJECTIVES``.
        energy: |g0|^2 of each leaf, shape [leaves], float64.
        numel: Elements of each leaf's gradient, shape [leaves].

    Returns:
        Weights of shape [leaves, 2]: with the first, energies add up to |g - g0|^2 / |g0|^2; with the second to what
        the allocation is to make least. Zeros for a gradient of zero.
    """
    total = float(energy.sum())
    if not total > 0:
        return torch.zeros(len(energy), 2, dtype=torch.float64)
    whole = torch.full_like(energy, 1 / total)
    if objective == "gradient":
        return torch.stack([whole, whole], 1)
    own = numel / numel.sum() / energy.clamp(min=_LEAST * total)
    return torch.stack([whole, (whole + own) / 2], 1)

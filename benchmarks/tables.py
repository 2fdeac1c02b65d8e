"""Tables of levels that are fitted to data, for codes whose levels are not evenly spaced.

Positions are within a group: 0 is its minimum, 1 its maximum, and both are always levels, so that every value has a
level on each side and stochastic rounding between them has the right expectation. A value at u between levels l and h
then has the variance (u - l) (h - u).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

CELLS = 1024


def histogram(position: Tensor, weight: Tensor) -> Tensor:
    """Weight at each of CELLS + 1 positions.

    Args:
        position: Between 0 and 1, ``[groups, size]``.
        weight: Of each group, ``[groups, 1]``.
    """
    cell = (position * CELLS).round().long().flatten()
    return torch.bincount(cell, weight.expand_as(position).flatten(), minlength=CELLS + 1)


def fit_table(weights: Tensor, levels: int) -> Tensor:
    """Levels on the grid of the histogram with the least variance, by dynamic programming.

    Args:
        weights: As ``histogram`` gives them.
        levels: How many, at least 2; the first is 0 and the last is 1.

    Returns:
        The levels in rising order, float64.
    """
    cost = _interval_costs(weights)
    best, steps = cost[0], []
    for _ in range(levels - 2):
        total, before = (best[:, None] + cost).min(dim=0)
        best = total
        steps.append(before)
    places = [CELLS]
    for before in reversed(steps):
        places.append(int(before[places[-1]]))
    return torch.tensor([0, *places[::-1]], dtype=torch.float64) / CELLS


def _interval_costs(weights: Tensor) -> Tensor:
    """Variance of all weight between two neighbouring levels, for each pair of grid positions; infinite downwards."""
    grid = torch.arange(CELLS + 1, dtype=torch.float64) / CELLS
    moments = [torch.cat((weights.new_zeros(1), (weights * grid**power).cumsum(0))) for power in range(3)]
    mass, first, second = (moment[1:][None, :] - moment[:-1][:, None] for moment in moments)
    cost = -second + (grid[:, None] + grid[None, :]) * first - grid[:, None] * grid[None, :] * mass
    return cost.masked_fill(torch.ones_like(cost, dtype=torch.bool).tril(), torch.inf)


@cache
def gaussian_table(bits: int, size: int) -> Tensor:
    """The table fitted to groups of normal samples.

    Args:
        bits: Width of a code.
        size: Elements of a group.
    """
    samples = torch.randn(2**13, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    low, high = samples.amin(1, keepdim=True), samples.amax(1, keepdim=True)
    return fit_table(histogram((samples - low) / (high - low), (high - low) ** 2), 2**bits)


def fit_dithered_table(weights: Tensor, bits: int, phases: int, steps: int = 250) -> Tensor:
    """Points for a table that is used with subtractive dither, by gradient descent.

    A decoder in phase d maps code k to point d + k * phases. All phases are equally likely, so the means of ``phases``
    neighbouring points are the levels between which the expectation is linear, and the first and the last of them
    are 0 and 1.

    Args:
        weights: As ``histogram`` gives them.
        bits: Width of a code.
        phases: How many values the shared random number has.
        steps: Of the descent.

    Returns:
        The points in rising order, float64 ``[phases * 2^bits]``.
    """
    position = torch.arange(CELLS + 1, dtype=torch.float64) / CELLS
    gaps = torch.zeros(phases * 2**bits - 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([gaps], lr=0.05)
    least, best = torch.inf, gaps.detach()
    for _ in range(steps):
        points = _points(gaps, phases)
        loss = (weights * dithered_variance(position, points, phases)).sum() / weights.sum()
        if loss.item() < least:
            least, best = loss.item(), points.detach()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best


def _points(gaps: Tensor, phases: int) -> Tensor:
    points = torch.cat((gaps.new_zeros(1), gaps.exp().cumsum(0)))
    levels = points.unfold(0, phases, 1).mean(1)
    return (points - levels[0]) / (levels[-1] - levels[0])


def dithered_variance(position: Tensor, points: Tensor, phases: int) -> Tensor:
    """Variance at each position of a table with subtractive dither.

    Args:
        position: Between 0 and 1, any shape.
        points: As ``fit_dithered_table`` gives them.
        phases: How many values the shared random number has.
    """
    levels = points.unfold(0, phases, 1).mean(1)
    squares = points.square().unfold(0, phases, 1).mean(1)
    below = torch.bucketize(position, levels.detach()[1:-1].contiguous(), right=True)
    share = (position - levels[below]) / (levels[below + 1] - levels[below])
    return squares[below] + share * (squares[below + 1] - squares[below]) - position.square()

"""Measuring how much the gradient suffers from the rounding of each site."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .graph import Leaf
from .grouping import Group, Member, Sharing, first_groups, passes_for

LEAST_PASSES = 6
MOST_PASSES = 31

Compare = Callable[[Sequence[int]], Tensor]
"""Runs backward with the members of these indices rounded: noise at each leaf, shape [leaves, measures]."""


def one_at_a_time(count: int, reseed: Callable[[int], Tensor]) -> Tensor:
    """What each member's rounding does to the gradient, in one pass for each: Algorithm 1 of GACT (Liu et al., 2022).

    Two gradients that differ in the rounding of one tensor differ by twice its variance.

    Args:
        count: Number of members.
        reseed: Runs backward with all members rounded, one of them with other random numbers: how far the gradients
            are apart at each leaf, shape [leaves, measures].

    Returns:
        Variance of each leaf's gradient due to each member, from one sample, shape [members, leaves, measures],
        float64.
    """
    apart = [reseed(index) / 2 for index in range(count)]
    return torch.stack(apart) if apart else torch.zeros(0, 0, 1, dtype=torch.float64)


def in_groups(members: Sequence[Member], leaves: Sequence[Leaf], compare: Compare) -> Tensor:
    """Sensitivities from a number of passes that does not grow with the depth of the network.

    Args:
        members: The sites.
        leaves: Leaves of the graph, in the order of the energies.
        compare: Runs one pass.

    Returns:
        Estimate of the noise that each member causes at each leaf, shape [members, leaves, measures], float64. What
        the last measure tells decides how groups are split.
    """
    if not members:
        return torch.zeros(0, 0, 1, dtype=torch.float64)
    sharing = Sharing(members, leaves)

    def measured(group: list[int], energy: Tensor) -> Group:
        return Group(group, energy, *sharing.share(group))

    most = passes_for(members, LEAST_PASSES, MOST_PASSES)
    groups = [measured(group, compare(group)) for group in first_groups(members, most)]
    while len(groups) < most:
        whole = max(groups, key=lambda group: group.uncertainty(members))
        if not whole.uncertainty(members) > 0:
            break
        parts = whole.halves(members)
        smaller, larger = sorted(parts, key=lambda part: float(_estimates(whole, part)[:, -1].sum()))
        # A difference is only as exact as the larger of the two: measure the smaller part.
        energy = compare(smaller)
        groups.remove(whole)
        groups += [measured(smaller, energy), measured(larger, (whole.energy - energy).clamp(min=0.0))]
    estimate = torch.zeros(len(members), *groups[0].energy.shape, dtype=torch.float64)
    for group in groups:
        estimate[torch.tensor(group.members)] = group.by_leaf
    return estimate


def _estimates(group: Group, part: Sequence[int]) -> Tensor:
    place = {member: index for index, member in enumerate(group.members)}
    return group.estimate[torch.tensor([place[member] for member in part])]

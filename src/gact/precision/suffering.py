"""Which parameters suffer from rounding: the noise of each gradient beside that gradient itself.

The noise of the whole gradient is a mean, in which a norm whose own gradient is lost does not show.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..records import Site

_NOTHING = 1e-12
"""A gradient with a smaller share of the energy of all is 0 but for the rounding of floats."""


class Suffered(NamedTuple):
    """The noise of one parameter.

    Attributes:
        parameter: The parameter.
        noise: Predicted |g - g0|^2 / |g0|^2 of its own gradient.
        share: Share of |g0|^2 that its gradient has in that of all.
    """

    parameter: Tensor
    noise: float
    share: float


class Suffering:
    """What the rounding of each site does to the gradient of each parameter.

    Args:
        leaves: The parameters, which are not held.
        energy: |g0|^2 of each, shape [leaves].
        sites: The sites.
        noise: |g - g0|^2 that each of them causes in each, over the energy of all, shape [sites, leaves].
    """

    def __init__(self, leaves: Sequence[Tensor], energy: Tensor, sites: Sequence[Site], noise: Tensor) -> None:
        self._leaves = [weakref.ref(leaf) for leaf in leaves]
        self._shares = energy / energy.sum()
        caused = noise.sum(1, keepdim=True)
        parts = torch.where(caused > 0, noise / caused.clamp(min=1e-300), 0.0)
        self._parts = dict(zip(sites, parts, strict=True))

    def worst(self, noise: Mapping[Site, float], count: int) -> list[Suffered]:
        """The parameters with most noise beside their own gradient, the worst first.

        Args:
            noise: What each site causes at the width that it has, over the energy of all.
            count: How many.
        """
        each = [part * noise[site] for site, part in self._parts.items() if site in noise]
        if not each:
            return []
        counts = self._shares > _NOTHING
        own = torch.where(counts, torch.stack(each).sum(0) / self._shares.clamp(min=_NOTHING), 0.0)
        found = []
        for at in torch.argsort(own, descending=True, stable=True)[:count].tolist():
            leaf = self._leaves[at]()
            if leaf is not None and own[at] > 0:
                found.append(Suffered(leaf, float(own[at]), float(self._shares[at])))
        return found

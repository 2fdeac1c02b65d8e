"""The bit allocation: widths that make the gradient's noise least under a budget of bytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Allocation:
    """A choice among the options of every site.

    Attributes:
        choice: Index of the option of each site, shape [sites], int64.
        noise: Sum of the noise of what was chosen.
        nbytes: Sum of its bytes.
        bound: No choice within the budget has less noise than this (the linear relaxation's optimum).
    """

    choice: Tensor
    noise: float
    nbytes: int
    bound: float

    @property
    def gap(self) -> float:
        """How far the noise may be above the least possible, relative to it."""
        return 0.0 if self.noise <= self.bound else self.noise / self.bound - 1.0 if self.bound > 0 else float("inf")


def allocate(noise: Tensor, nbytes: Tensor, budget: int) -> Allocation:
    """One option for each site, with the least sum of noise whose bytes fit the budget.

    Solves min sum_l noise[l, o_l] subject to sum_l nbytes[l, o_l] <= budget, the multiple-choice knapsack problem of
    adaptive precision (GACT, Liu et al., 2022, there with noise c_l / (2^b - 1)^2 and bytes in proportion to b). On the
    lower convex hull of each site's options the steepest steps are taken first, which is optimal up to the step that
    no longer fits; what is left is spent on single moves. ``gap`` says how far from optimal that can be.

    Args:
        noise: Noise of each option, shape [sites, options], float64, infinite where an option is not allowed.
        nbytes: Bytes of each option, same shape, int64, growing along the options.
        budget: Bytes that may be spent. If even the cheapest options cost more, those are chosen.

    Returns:
        The choice, its noise and bytes, and a lower bound.

    Raises:
        ValueError: If shapes differ, a noise is negative or NaN, a site has no allowed option, or bytes do not grow.
    """
    _check(noise, nbytes)
    sites = len(noise)
    if sites == 0:
        return Allocation(torch.zeros(0, dtype=torch.int64), 0.0, 0, 0.0)
    first, steps = _hull(noise, nbytes)
    choice = first.clone()
    spent = int(_at(nbytes, choice).sum())
    order = torch.argsort(steps.slope, descending=True, stable=True)
    site, target, gain, cost = steps.site[order], steps.target[order], steps.gain[order], steps.cost[order]
    fits = cost.cumsum(0) <= budget - spent
    taken = int(fits.sum()) if spent <= budget else 0
    # Steps of one site come in order, so the last one taken is the greatest option.
    choice.scatter_reduce_(0, site[:taken], target[:taken], "amax")
    least = float(_at(noise, choice).sum())
    spent = int(_at(nbytes, choice).sum())
    bound = least
    if taken < len(site) and spent <= budget:
        bound -= float(gain[taken]) * (budget - spent) / int(cost[taken])
    _spend_rest(noise, nbytes, choice, budget - spent)
    return Allocation(choice, float(_at(noise, choice).sum()), int(_at(nbytes, choice).sum()), bound)


_MOVES = 256


def _check(noise: Tensor, nbytes: Tensor) -> None:
    if noise.dim() != 2 or noise.shape != nbytes.shape:
        raise ValueError(
            f"noise and nbytes must have the same shape [sites, options], got {list(noise.shape)} and "
            f"{list(nbytes.shape)}."
        )
    if bool(torch.isnan(noise).any()) or bool((noise < 0).any()):
        raise ValueError("noise must not be negative or NaN. Leave out sites that were not measured.")
    if len(noise) and not bool(torch.isfinite(noise).any(1).all()):
        raise ValueError("every site needs an option of finite noise.")
    if bool((nbytes.diff(dim=1) <= 0).any()):
        raise ValueError("nbytes must grow along the options of every site.")


def _at(table: Tensor, choice: Tensor) -> Tensor:
    return table.gather(1, choice[:, None])[:, 0]


@dataclass(frozen=True, slots=True)
class _Steps:
    """Steps along the lower convex hull of each site, those of one site in order and no steeper than the one before.

    Attributes:
        site: Whose step it is.
        target: The option it leads to.
        gain: Noise that it takes away.
        cost: Bytes that it takes.
        slope: Gain per byte.
    """

    site: Tensor
    target: Tensor
    gain: Tensor
    cost: Tensor
    slope: Tensor


def _hull(noise: Tensor, nbytes: Tensor) -> tuple[Tensor, _Steps]:
    """The cheapest allowed option of each site, shape [sites], and the steps from there."""
    options = noise.shape[1]
    current = torch.isfinite(noise).to(torch.int8).argmax(1)
    first = current.clone()
    sites = torch.arange(len(noise))
    later = torch.arange(options)[None, :]
    before = torch.full((len(noise),), torch.inf, dtype=torch.float64)
    found: list[tuple[Tensor, ...]] = [(sites[:0], current[:0], before[:0], nbytes[:0, 0], before[:0])]
    for _ in range(options - 1):
        gain = _at(noise, current)[:, None] - noise
        cost = nbytes - _at(nbytes, current)[:, None]
        slope = torch.where(later > current[:, None], gain / cost.clamp(min=1), -torch.inf)
        best, to = slope.max(1)
        going = best > 0
        if not bool(going.any()):
            break
        # Of points on one line rounding could make the later step the steeper one, and it would be taken alone.
        best = torch.minimum(best, before)
        found.append((sites[going], to[going], _at(gain, to)[going], _at(cost, to)[going], best[going]))
        current, before = torch.where(going, to, current), torch.where(going, best, before)
    return first, _Steps(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _spend_rest(noise: Tensor, nbytes: Tensor, choice: Tensor, left: int) -> None:
    """Makes the single moves that take away most noise with what is left, one after the other."""
    for _ in range(_MOVES):
        gain = _at(noise, choice)[:, None] - noise
        cost = nbytes - _at(nbytes, choice)[:, None]
        gain = torch.where((cost <= left) & (cost > 0), gain, 0.0)
        best = int(gain.argmax())
        site, option = divmod(best, noise.shape[1])
        if float(gain[site, option]) <= 0:
            return
        left -= int(cost[site, option])
        choice[site] = option

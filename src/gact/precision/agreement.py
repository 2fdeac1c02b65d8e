"""All ranks of a distributed run choose the same widths."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch.distributed as dist

from ..records import Site
from .findings import Finding, Result, Totals
from .sightings import Names


def agree(group: Any, result: Result | None, site_of: Callable[[str, str, int, int], Site]) -> Result | None:
    """The average of what all ranks found; every rank of the group must call this in the same step.

    Args:
        group: The process group.
        result: What this rank found, None if it failed.
        site_of: Gives this rank's site of four names.

    Returns:
        The findings of all sites that any rank has measured, with their mean noise; None if a rank failed.
    """
    gathered: list[Any] = [None] * dist.get_world_size(group)
    sent = None if result is None else replace(result, snapshot=None, suffering=None)
    dist.all_gather_object(gathered, sent, group=group)
    results: list[Result] = [each for each in gathered if each is not None]
    if len(results) < len(gathered):
        return None
    finite = [each for each in results if math.isfinite(each.energy)]
    energy = sum(each.energy for each in finite) / len(finite) if len(finite) == len(results) else math.nan
    found: dict[Names, list[Finding]] = {}
    times: dict[Names, tuple[int, int]] = {}
    for each in results:
        for site, finding in each.findings.items():
            found.setdefault((site.module, site.op, site.call, site.slot), []).append(finding)
        for names, time in each.times.items():
            times[names] = tuple(map(max, time, times.get(names, time)))  # type: ignore[assignment]
    findings = {site_of(*names): _mean(seen) for names, seen in sorted(found.items())}
    totals = Totals(max(each.totals.plain for each in results), max(each.totals.fixed for each in results))
    assert result is not None
    return replace(result, findings=findings, energy=energy, totals=totals, times=times)


def mean_over_ranks(group: Any, value: float) -> float:
    """The mean of a number that every rank of a group has; every one must call this in the same step."""
    gathered: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(gathered, value, group=group)
    return float(sum(gathered)) / len(gathered)


def _mean(findings: list[Finding]) -> Finding:
    noise = tuple(sum(values) / len(findings) for values in zip(*(each.noise for each in findings), strict=True))
    spread = sum(each.spread for each in findings) / len(findings)
    weight = sum(each.weight for each in findings) / len(findings)
    return replace(findings[0], noise=noise, spread=spread, weight=weight)

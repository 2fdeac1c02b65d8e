"""The results as a picture: loss over the training, live memory over one step."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from .results import NetworkResult, WayResult, way_name

_SHADES = ("#0b6e99", "#2ca58d", "#e07a1f", "#b23a48")
_PLAIN = "#555555"
_SMOOTHING = 5
_PHASE_WIDTHS = {"optimizer": 0.3}


def draw(results: Sequence[NetworkResult], path: Path) -> None:
    """Write the picture.

    Args:
        results: One row of the picture for each.
        path: A file whose ending matplotlib knows, such as ``.png``.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), 2, squeeze=False)
    for (left, right), result in zip(axes, results, strict=True):
        _losses(left, result)
        _memory(right, result)
    figure.savefig(path, dpi=110)


def smoothed_losses(way: WayResult) -> list[float]:
    """Loss of each step, averaged over the seeds and the steps just before."""
    means = [statistics.fmean(values) for values in zip(*(run.losses for run in way.trainings), strict=True)]
    return [statistics.fmean(means[max(0, at - _SMOOTHING + 1) : at + 1]) for at in range(len(means))]


def phase_edges(way: WayResult) -> list[float]:
    """Where on the horizontal axis each phase of the step begins, and where the last one ends."""
    return [0.0, *accumulate(_PHASE_WIDTHS.get(phase, 1.0) for phase in way.timeline.phases)]


def timeline_points(way: WayResult) -> tuple[list[float], list[float]]:
    """Place on the horizontal axis and live MiB of each sample; the samples of a phase are spread evenly over it."""
    progress, live = [], []
    for (start, end), samples in zip(pairwise(phase_edges(way)), way.timeline.samples, strict=True):
        progress += [start + (end - start) * at / max(1, len(samples) - 1) for at in range(len(samples))]
        live += [size / 2**20 for size in samples]
    return progress, live


def _color(way: WayResult, position: int) -> str:
    return _PLAIN if way.bits is None else _SHADES[(position - 1) % len(_SHADES)]


def _losses(axes: Any, result: NetworkResult) -> None:
    for position, way in enumerate(result.ways):
        axes.plot(smoothed_losses(way), color=_color(way, position), label=way_name(way.bits), linewidth=1.5)
    seeds = len(result.ways[0].trainings)
    axes.set(
        title=f"{result.name}: training loss ({'one seed' if seeds == 1 else f'mean of {seeds} seeds'})",
        xlabel="step",
        ylabel="cross entropy",
        yscale="log",
    )
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)


def _memory(axes: Any, result: NetworkResult) -> None:
    for position, way in enumerate(result.ways):
        progress, live = timeline_points(way)
        label = f"{way_name(way.bits)}: peak {way.timeline.peak / 2**20:.1f} MiB"
        axes.plot(progress, live, color=_color(way, position), label=label, linewidth=1.5)
    edges = phase_edges(result.ways[0])
    axes.set(title=f"{result.name}: live tensor memory over one step", ylabel="MiB", xlim=(0, edges[-1]))
    axes.set_ylim(0, 1.35 * max(way.timeline.peak for way in result.ways) / 2**20)
    axes.set_xticks([(start + end) / 2 for start, end in pairwise(edges)], result.ways[0].timeline.phases)
    axes.tick_params(axis="x", length=0)
    for boundary in edges[1:-1]:
        axes.axvline(boundary, color="#bbbbbb", linewidth=0.8)
    axes.legend(frameon=False, ncols=2, loc="upper right")
    axes.grid(axis="y", alpha=0.25)

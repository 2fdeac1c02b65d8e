"""The results as a picture: loss over the training, live memory over one step."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .results import NetworkResult, WayResult, way_name

_SHADES = ("#0b6e99", "#2ca58d", "#e07a1f", "#b23a48")
_PLAIN = "#555555"
_SMOOTHING = 5


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


def timeline_points(way: WayResult) -> tuple[list[float], list[float]]:
    """Progress (1 at the end of the first phase, 2 of the second ...) and live MiB of each sample."""
    progress, live = [], []
    for phase, samples in enumerate(way.timeline.samples):
        progress += [phase + at / max(1, len(samples) - 1) for at in range(len(samples))]
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
    phases = result.ways[0].timeline.phases
    axes.set(title=f"{result.name}: live tensor memory over one step", ylabel="MiB", xlim=(0, len(phases)))
    axes.set_ylim(bottom=0)
    axes.set_xticks([phase + 0.5 for phase in range(len(phases))], phases)
    axes.tick_params(axis="x", length=0)
    for boundary in range(1, len(phases)):
        axes.axvline(boundary, color="#bbbbbb", linewidth=0.8)
    axes.legend(frameon=False)
    axes.grid(axis="y", alpha=0.25)

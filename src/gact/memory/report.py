"""The memory of one training step: live bytes over time and what was alive at the peak, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .figures import Figures, Holder, Sample, table
from .pages import render
from .plot import draw

__all__ = ["Holder", "MemoryProfile", "Sample"]


@dataclass(frozen=True, slots=True)
class MemoryProfile(Figures):
    """Where the memory of a step went.

    Attributes:
        samples: One for each operation, in order.
        holders: What was alive at the peak, the largest first.
        start_bytes: Bytes of tensors known at the start.
        allocator_peak: Highest bytes of torch's CUDA allocator; None without CUDA.
        resident_start: Bytes of the process in memory at the start; None where the system does not tell.
        resident_peaks: Highest bytes of the process in memory, by phase; empty where the system does not tell.
    """

    def to_html(self) -> str:
        """A page that needs no network: memory over the step as a chart, and what was alive at the peak."""
        return render({"step": self})

    def plot(self, others: Mapping[str, Figures] | None = None, name: str = "step", axes: Any = None) -> Any:
        """Draws the memory over the step with matplotlib: what holds it as a stack, with the lines of other profiles.

        Args:
            others: Profiles to be drawn as lines beside it, by name, such as ``{"plain": plain}``.
            name: Of this one in the legend.
            axes: Where to draw; None for a new figure of ``matplotlib.pyplot``.

        Returns:
            The axes.

        Raises:
            MissingExtraError: If matplotlib is not installed.
        """
        return draw(self, others or {}, name, axes)

    def __str__(self) -> str:
        return table(self)

"""The paper's check: the noise predicted for each site beside the noise that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..records import Site


@dataclass(frozen=True, slots=True)
class Comparison:
    """One site, or all of them rounded together.

    Attributes:
        site: The site; None for all together.
        bits: Width that is compared; 0 for all together.
        predicted: Gradient noise |g - g0|^2 / |g0|^2 as a measurement in groups estimates it.
        measured: The same from backward passes in which nothing else is rounded, averaged over roundings.
    """

    site: Site | None
    bits: int
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        """Predicted over measured; 1 where both are zero."""
        if self.measured > 0:
            return self.predicted / self.measured
        return float("inf") if self.predicted > 0 else 1.0


def table(comparisons: Sequence[Comparison]) -> str:
    """The comparisons as text, the noisiest sites first and all together last."""
    order = sorted(comparisons, key=lambda each: (each.site is None, -each.measured))
    names = [str(each.site) if each.site is not None else "all together" for each in order]
    width = max(map(len, [*names, "site"]))
    lines = [f"{'site':{width}}  bits  predicted   measured  ratio"]
    for name, each in zip(names, order, strict=True):
        bits = str(each.bits) if each.bits else ""
        lines.append(f"{name:{width}}  {bits:>4}  {each.predicted:9.2e}  {each.measured:9.2e}  {each.ratio:5.2f}")
    return "\n".join(lines)


def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """Writes a scatter of predicted over measured noise, one point for each site, both axes logarithmic.

    Args:
        comparisons: What was compared.
        path: A file whose ending matplotlib knows, such as ``.png``.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.
    """
    from matplotlib.figure import Figure

    points = [each for each in comparisons if each.site is not None and min(each.predicted, each.measured) > 0]
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    both = [value for each in points for value in (each.measured, each.predicted)] or [1.0]
    ends = (min(both) / 2, max(both) * 2)
    axes.plot(ends, ends, color="#bbbbbb", linewidth=1, label="equal")
    axes.scatter([each.measured for each in points], [each.predicted for each in points], s=18, color="#0b6e99")
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measured noise", ylabel="predicted noise")
    axes.set_title(f"gradient noise of {len(points)} sites")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=110)
